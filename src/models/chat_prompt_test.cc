// Chat prompts of real vocabularies: with the messages' text marked as the caller's, the ids are the golden ones.
#include "text/chat_prompt.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "models/gguf_tokenizer.h"

namespace lem {
namespace {

struct Golden {
  std::string_view model_file;
  std::string_view golden_file;
};

class GoldenChatTest : public testing::TestWithParam<Golden> {};

// `rendered` cut around the contents of the messages, in order.
std::vector<RenderedSpan> MarkContents(std::string_view rendered, const JsonArray& messages) {
  std::vector<RenderedSpan> spans;
  for (const JsonValue& message : messages) {
    const std::string_view content = message.at("content").as_string();
    const size_t found = rendered.find(content);
    if (content.empty() || found == std::string_view::npos) continue;  // a template may trim or drop it
    spans.push_back({std::string(rendered.substr(0, found)), true});
    spans.push_back({std::string(content), false});
    rendered.remove_prefix(found + content.size());
  }
  spans.push_back({std::string(rendered), true});
  return spans;
}

TEST_P(GoldenChatTest, AgreesWithLlamaCpp) {
  const char* folder = std::getenv("LEM_TEST_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "LEM_TEST_MODELS (a folder of models) is not set";
  const std::filesystem::path path = std::filesystem::path(folder) / GetParam().model_file;
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing";
  auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  auto tokenizer = LoadTokenizer(std::make_shared<const GgufFile>(std::move(*file)));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();

  auto text = ReadFile(std::filesystem::path(LEM_SOURCE_DIR) / "tests/golden" / GetParam().golden_file);
  ASSERT_TRUE(text.ok());
  auto golden = ParseJson(*text);
  ASSERT_TRUE(golden.ok());
  for (const JsonValue& item : golden->at("cases").as_array()) {
    const std::string_view rendered = item.at("rendered").as_string();
    const std::vector<RenderedSpan> spans = MarkContents(rendered, item.at("messages").as_array());
    EXPECT_GT(spans.size(), 1u) << rendered;
    std::vector<TokenId> expected;
    for (const JsonValue& id : item.at("ids").as_array()) expected.push_back(static_cast<TokenId>(id.as_int64()));
    EXPECT_EQ(EncodeRendered(**tokenizer, spans), expected) << rendered;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenChatTest,
                         testing::Values(Golden{"smollm2-135m.gguf", "smollm2-135m-instruct-q4_1.chat.json"},
                                         Golden{"gemma3-270m.gguf", "gemma3-270m-q4_k_m.chat.json"},
                                         Golden{"qwen2.5-coder-0.5b.gguf",
                                                "qwen2.5-coder-0.5b-instruct-q4_k_m.chat.json"}),
                         [](const auto& info) { return std::to_string(info.index); });

}  // namespace
}  // namespace lem
