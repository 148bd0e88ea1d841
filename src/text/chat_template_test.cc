#include "text/chat_template.h"

#include <gtest/gtest.h>

namespace lem {
namespace {

TEST(ChatTemplateTest, ChatMl) {
  ChatTemplateInputs in;
  in.messages.push_back({"user", "hi", {}});
  EXPECT_EQ(*ChatTemplate::ChatMl()->Render(in), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace lem
