// A vocabulary made of the input's lines is refused or tokenises the input: plain text never gives a control token but
// the unknown one, and a byte-level vocabulary that can spell every byte gives the text back.
#include "base/check.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

using enum lem::SpecialTokens;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  constexpr const char* kModels[] = {"gpt2", "llama", "t5", "bert", "gemma4", "whitespace"};
  constexpr const char* kPres[] = {"default", "llama-bpe", "gpt-4o", "deepseek-llm", "afmoe", "jais-2", "superbpe"};
  const std::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);
  lem::TokenizerSpec spec{.model = kModels[data[0] % 6], .pre = kPres[data[1] % 7], .unknown = 0};
  const bool spells_bytes = data[2] % 2 == 1;
  for (size_t i = 0; spells_bytes && i < 256; ++i) spec.tokens.push_back(lem::ByteLevelAlphabet()[i].view());
  for (size_t at = 0, end = 0; at < text.size() && spec.tokens.size() < 600; at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    (line.find(' ', 1) == std::string_view::npos ? spec.tokens : spec.merges).push_back(line);
  }
  for (const std::string_view token : spec.tokens) {
    spec.token_types.push_back(token.starts_with("<|") ? 3 : token.starts_with("[") && token.size() > 1 ? 4 : 1);
    spec.scores.push_back(static_cast<float>(data[spec.scores.size() % size]) - 100);
  }
  spec.precompiled_charsmap = text.substr(0, data[2] % 64);
  const bool gives_back = spells_bytes && spec.model == "gpt2" && lem::IsStableUtf8(text);
  const auto tokenizer = lem::Tokenizer::Create(std::move(spec));
  for (size_t i = 0; tokenizer.ok() && i < 2; ++i) {
    std::string joined;
    for (const lem::TokenId id : (*tokenizer)->Encode(text, i == 0 ? kAsText : kParse, lem::AddSpecial::kNone)) {
      LEM_CHECK(i == 1 || id == 0 || (*tokenizer)->type_of(id) != lem::TokenType::kControl) << id;
      joined += (*tokenizer)->TokenText(id, kParse);
    }
    LEM_CHECK(!gives_back || joined == text) << "the text does not come back";
  }
  return 0;
}
