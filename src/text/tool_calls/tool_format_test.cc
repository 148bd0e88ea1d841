#include "text/tool_calls/tool_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "text/text_assembler.h"

namespace lem {
namespace {

std::unique_ptr<Tokenizer> TokenizerWith(std::vector<std::string_view> control) {
  static const std::string_view kLetters[] = {"a", "b", "c"};
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.tokens.assign(std::begin(kLetters), std::end(kLetters));
  spec.tokens.insert(spec.tokens.end(), control.begin(), control.end());
  spec.token_types.assign(spec.tokens.size(), static_cast<int32_t>(TokenType::kControl));
  std::fill_n(spec.token_types.begin(), 3, static_cast<int32_t>(TokenType::kNormal));
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return *std::move(tokenizer);
}

ToolFormat Detect(std::string_view source, const Tokenizer& tokenizer) {
  const auto chat_template = ChatTemplate::Create(source);
  EXPECT_TRUE(chat_template.ok()) << chat_template.status().ToString();
  return DetectToolFormat(**chat_template, tokenizer);
}

TEST(ToolFormat, FamilyFromTheTemplate) {
  const auto tokenizer = TokenizerWith({});
  const std::pair<std::string_view, ToolFamily> cases[] = {
      {"{{ '<tool_call>' }}", ToolFamily::kHermes},
      {"{{ 'hello' }}", ToolFamily::kHermes},
      {"{{ '[TOOL_CALLS]' }}", ToolFamily::kMistral},
      {"{{ '[TOOL_CALLS]' + 'f' + '[ARGS]' }}", ToolFamily::kMistralNamed},
      {"{{ '<|python_tag|>' }}", ToolFamily::kLlama3},
      {"{{ '<｜tool▁calls▁begin｜>' }}", ToolFamily::kDeepSeek},
      {"{{ '<|tool|>' + '<|/tool|>' }}", ToolFamily::kPhi},
      {"{{ '<start_of_turn>model' }}", ToolFamily::kGemma},
      {"{{ '<|channel|>final<|message|>' }}", ToolFamily::kHarmony},
  };
  for (const auto& [source, family] : cases) {
    EXPECT_EQ(ToolFamilyName(Detect(source, *tokenizer).family), ToolFamilyName(family)) << source;
  }
  EXPECT_EQ(DetectToolFormat(*ChatTemplate::ChatMl(), *tokenizer).family, ToolFamily::kHermes);
}

TEST(ToolFormat, RealTemplate) {
  const auto source = ReadFile(LEM_SOURCE_DIR "/tests/data/jinja/templates/qwen2.5.jinja");
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  const auto chat_template = ChatTemplate::Create(*source);
  ASSERT_TRUE(chat_template.ok());
  EXPECT_TRUE((*chat_template)->tool_support().all());
  const ToolFormat format = DetectToolFormat(**chat_template, *TokenizerWith({}));
  EXPECT_EQ(format.family, ToolFamily::kHermes);
  EXPECT_FALSE(format.is_generic);
  const auto smollm = ReadFile(LEM_SOURCE_DIR "/tests/data/jinja/templates/smollm2.jinja");
  ASSERT_TRUE(smollm.ok());
  const auto without = ChatTemplate::Create(*smollm);
  ASSERT_TRUE(without.ok());
  EXPECT_FALSE((*without)->tool_support().tools);
  EXPECT_FALSE((*without)->tool_support().calls);
  EXPECT_TRUE(DetectToolFormat(**without, *TokenizerWith({})).is_generic);
  // It shows any role.
  EXPECT_TRUE((*without)->tool_support().results);
}

TEST(ToolFormat, ControlTokensOfTheFamilyAreVisible) {
  const auto tokenizer = TokenizerWith({"[TOOL_CALLS]", "<other>", "[ARGS]", "<think>", "</think>"});
  const ToolFormat format = Detect("{{ '[TOOL_CALLS]' + 'f' + '[ARGS]' }}", *tokenizer);
  EXPECT_THAT(format.visible_tokens, testing::ElementsAre(3, 5, 6, 7));
  EXPECT_EQ(format.reasoning.close, "</think>");
  EXPECT_TRUE(format.short_call_ids);
  EXPECT_EQ(Detect("{{ 'x' }}", *TokenizerWith({})).reasoning.open, "");
}

TEST(ToolFormat, VisibleTokensShowInText) {
  const auto tokenizer = TokenizerWith({"[TOOL_CALLS]", "<other>"});
  TextAssembler assembler(*tokenizer, {}, /*at_text_start=*/false, {3});
  std::string text;
  for (const TokenId id : {0, 3, 4, 1}) text += assembler.Append(id);
  EXPECT_EQ(text, "a[TOOL_CALLS]b");
}

}  // namespace
}  // namespace lem
