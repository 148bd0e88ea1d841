// Ids of small vocabularies against llama.cpp's; see tests/data/tokenizers/README.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "text/pretokenizer_families.h"
#include "text/tokenizer.h"

namespace lem {
namespace {

std::string FromHex(std::string_view hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

std::string_view AsText(const JsonValue& value) { return {value.as_string().data(), value.as_string().size()}; }

JsonValue Parse(std::string_view text) {
  auto value = ParseJson(text);
  EXPECT_TRUE(value.ok()) << value.status().ToString();
  return value.ok() ? std::move(*value) : JsonValue(JsonObject());
}

std::string ReadData(std::string_view name) {
  auto text = ReadFile(std::filesystem::path(LEM_SOURCE_DIR) / "tests/data/tokenizers" / name);
  EXPECT_TRUE(text.ok()) << text.status().ToString();
  return text.ok() ? std::move(*text) : std::string();
}

struct Case {
  std::string text;
  JsonObject expected;
};

std::vector<Case> ReadCases(std::string_view name) {
  std::vector<Case> out;
  const std::string lines = ReadData(name);
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = lines.find('\n', begin);
    JsonObject line = Parse(std::string_view(lines).substr(begin, end - begin)).as_object();
    const std::string text =
        line.contains("hex") ? FromHex(AsText(line.at("hex"))) : std::string(AsText(line.at("text")));
    out.push_back({text, std::move(line)});
    begin = end + 1;
  }
  EXPECT_GT(out.size(), 50U);
  return out;
}

// A vocabulary file; its strings are what the spec's views point into.
struct VocabularyFile {
  explicit VocabularyFile(std::string_view name) : content(Parse(ReadData(name)).as_object()) {}

  TokenizerSpec Spec() const {
    TokenizerSpec spec;
    for (const JsonValue& token : content.at("tokens").as_array()) spec.tokens.push_back(AsText(token));
    for (const JsonValue& type : content.at("token_types").as_array()) {
      spec.token_types.push_back(type.to_number<int32_t>());
    }
    if (content.contains("scores")) {
      for (const JsonValue& score : content.at("scores").as_array()) spec.scores.push_back(score.to_number<float>());
    }
    if (content.contains("merges")) {
      for (const JsonValue& merge : content.at("merges").as_array()) spec.merges.push_back(AsText(merge));
    }
    const auto id = [this](std::string_view key) -> std::optional<TokenId> {
      if (!content.contains(key)) return std::nullopt;
      return content.at(key).to_number<TokenId>();
    };
    spec.bos = id("bos");
    spec.eos = id("eos");
    spec.unknown = id("unknown");
    spec.separator = id("separator");
    return spec;
  }

  JsonObject content;
};

std::unique_ptr<Tokenizer> Create(TokenizerSpec spec) {
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

std::vector<TokenId> Ids(const JsonValue& value) {
  std::vector<TokenId> out;
  for (const JsonValue& id : value.as_array()) out.push_back(id.to_number<TokenId>());
  return out;
}

void ExpectIds(const Tokenizer& tokenizer, std::string_view text, const JsonObject& expected) {
  const std::vector<TokenId> plain = Ids(expected.at("plain"));
  EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kAsText, AddSpecial::kNone), plain) << testing::PrintToString(text);
  const std::vector<TokenId> parsed = expected.contains("parsed") ? Ids(expected.at("parsed")) : plain;
  EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kParse, AddSpecial::kNone), parsed) << testing::PrintToString(text);
  if (!expected.contains("added")) return;
  EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kParse, AddSpecial::kModelDefault), Ids(expected.at("added")))
      << testing::PrintToString(text);
}

TEST(TokenizerOracleTest, BytePairsWithEveryPreTokenizer) {
  const VocabularyFile vocabulary("bpe.json");
  std::map<std::string, std::unique_ptr<Tokenizer>> by_name;
  for (const Case& item : ReadCases("bpe.jsonl")) {
    for (const JsonValue& entry : item.expected.at("ids").as_array()) {
      for (const JsonValue& value : entry.as_object().at("pre").as_array()) {
        const std::string name(AsText(value));
        std::unique_ptr<Tokenizer>& tokenizer = by_name[name];
        if (tokenizer == nullptr) {
          TokenizerSpec spec = vocabulary.Spec();
          spec.model = "gpt2";
          spec.pre = name;
          tokenizer = Create(std::move(spec));
          ASSERT_NE(tokenizer, nullptr) << name;
        }
        SCOPED_TRACE(name);
        ExpectIds(*tokenizer, item.text, entry.as_object());
      }
    }
  }
  // Every family but those of whole lines and words (which have no byte alphabet) is there.
  std::set<std::string> missing;
  for (const PreTokenizerFamily& family : PreTokenizerFamilies()) {
    const std::string name(family.names.front().empty() ? "default" : family.names.front());
    if (family.traits.byte_level && by_name.count(name) == 0) missing.insert(name);
  }
  EXPECT_THAT(missing, testing::IsEmpty());
}

TEST(TokenizerOracleTest, EveryPreTokenizerNameIsKnown) {
  const VocabularyFile vocabulary("bpe.json");
  for (const PreTokenizerFamily& family : PreTokenizerFamilies()) {
    for (const std::string_view name : family.names) {
      TokenizerSpec spec = vocabulary.Spec();
      spec.model = "gpt2";
      spec.pre = name;
      spec.bos = 11;
      EXPECT_NE(Create(std::move(spec)), nullptr) << name;
    }
  }
}

// The configurations of one vocabulary are in its cases, keyed as in GGUF files.
void ExpectCases(std::string_view name, std::string_view model) {
  const VocabularyFile vocabulary(std::string(name) + ".json");
  const std::string charsmap =
      vocabulary.content.contains("charsmap_hex") ? FromHex(AsText(vocabulary.content.at("charsmap_hex"))) : "";
  for (const Case& item : ReadCases(std::string(name) + ".jsonl")) {
    for (const JsonValue& value : item.expected.at("cases").as_array()) {
      const JsonObject& expected = value.as_object();
      const auto flag = [&](std::string_view key) -> std::optional<bool> {
        if (!expected.contains(key)) return std::nullopt;
        return expected.at(key).as_bool();
      };
      TokenizerSpec spec = vocabulary.Spec();
      spec.model = model;
      spec.precompiled_charsmap = charsmap;
      spec.add_bos = flag("add_bos_token");
      spec.add_eos = flag("add_eos_token");
      spec.add_space_prefix = flag("add_space_prefix");
      spec.remove_extra_whitespaces = flag("remove_extra_whitespaces");
      spec.lowercase = flag("normalizer.lowercase");
      spec.strip_accents = flag("normalizer.strip_accents");
      ExpectIds(*Create(std::move(spec)), item.text, expected);
    }
  }
}

TEST(TokenizerOracleTest, SentencePiecePairs) { ExpectCases("spm", "llama"); }
TEST(TokenizerOracleTest, SentencePieceUnigrams) { ExpectCases("unigram", "t5"); }
TEST(TokenizerOracleTest, WordPieces) { ExpectCases("wordpiece", "bert"); }

}  // namespace
}  // namespace lem
