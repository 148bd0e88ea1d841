#include "base/spelling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SpellingTest, CountsTypingErrors) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("port", "prot"), 1u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("flaw", "lawn"), 2u);
}

TEST(SpellingTest, FindsNearNamesOnly) {
  const std::vector<std::string> known = {"smollm2:135m", "gemma3:270m", "smollm2", "port", "host"};
  EXPECT_THAT(CloseMatches("smolm2", known), ElementsAre("smollm2"));
  EXPECT_THAT(CloseMatches("SmolLM", known), ElementsAre("smollm2", "smollm2:135m"));
  EXPECT_THAT(CloseMatches("gemma3:207m", known), ElementsAre("gemma3:270m"));
  EXPECT_THAT(CloseMatches("prot", known), ElementsAre("port"));
  EXPECT_THAT(CloseMatches("elephant", known), IsEmpty());
  EXPECT_THAT(CloseMatches("", known), IsEmpty());
  EXPECT_EQ(DidYouMean("prot", known), "; did you mean port?");
  EXPECT_EQ(DidYouMean("elephant", known), "");
}

}  // namespace
}  // namespace lem
