#include "models/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"

namespace lem {
namespace {

struct Golden {
  std::string_view model_file;
  std::string_view golden_file;
};

class GoldenTokensTest : public testing::TestWithParam<Golden> {};

std::vector<TokenId> Ids(const JsonValue& value) {
  std::vector<TokenId> out;
  for (const JsonValue& id : value.as_array()) out.push_back(static_cast<TokenId>(id.as_int64()));
  return out;
}

TEST_P(GoldenTokensTest, AgreesWithLlamaCpp) {
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
  for (const JsonValue& value : golden->as_object().at("cases").as_array()) {
    const JsonObject& item = value.as_object();
    const std::string_view input = item.at("text").as_string();
    EXPECT_EQ((*tokenizer)->Encode(input, SpecialTokens::kAsText, AddSpecial::kNone), Ids(item.at("ids"))) << input;
    const std::vector<TokenId> ids = (*tokenizer)->Encode(input, SpecialTokens::kParse, AddSpecial::kNone);
    EXPECT_EQ(ids, Ids(item.at("ids_parse_special"))) << input;
    EXPECT_EQ((*tokenizer)->Decode(ids, SpecialTokens::kParse), input);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTokensTest,
                         testing::Values(Golden{"smollm2-135m.gguf", "smollm2-135m-instruct-q4_1.tokens.json"},
                                         Golden{"gemma3-270m.gguf", "gemma3-270m-q4_k_m.tokens.json"},
                                         Golden{"qwen2.5-coder-0.5b.gguf",
                                                "qwen2.5-coder-0.5b-instruct-q4_k_m.tokens.json"}),
                         [](const auto& info) { return std::to_string(info.index); });

}  // namespace
}  // namespace lem
