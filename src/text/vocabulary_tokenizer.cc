#include "text/vocabulary_tokenizer.h"

#include "text/byte_level.h"

namespace lem {
namespace {

namespace attribute = token_attribute;

std::string UnescapeSpaces(std::string_view text) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t found = text.find(kEscapedSpace, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out.push_back(' ');
    at = found + kEscapedSpace.size();
  }
}

std::optional<TokenId> AsOptional(TokenId id) {
  if (id == Vocabulary::kNone) return std::nullopt;
  return id;
}

}  // namespace

std::string EscapeSpaces(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  for (const char c : text) {
    if (c == ' ') {
      out += kEscapedSpace;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

VocabularyTokenizer::VocabularyTokenizer(Vocabulary vocabulary, TokenSpelling spelling, bool adds_space_prefix)
    : vocabulary_(std::make_unique<const Vocabulary>(std::move(vocabulary))),
      special_(*vocabulary_),
      spelling_(spelling),
      adds_space_prefix_(adds_space_prefix) {}

std::vector<TokenId> VocabularyTokenizer::Encode(std::string_view text, SpecialTokens special, AddSpecial add) const {
  return EncodeFragments(special_.Cut(text, special), add);
}

std::vector<TokenId> VocabularyTokenizer::EncodeSpans(std::span<const TextSpan> spans, AddSpecial add) const {
  std::string text;
  std::vector<ByteRange> parsed;
  for (const TextSpan& span : spans) {
    const size_t begin = text.size();
    text += span.text;
    if (span.special != SpecialTokens::kParse || span.text.empty()) continue;
    if (!parsed.empty() && parsed.back().end == begin) {
      parsed.back().end = text.size();
    } else {
      parsed.push_back({begin, text.size()});
    }
  }
  return EncodeFragments(special_.CutWithin(text, parsed), add);
}

std::vector<TokenId> VocabularyTokenizer::EncodeFragments(std::span<const TextFragment> fragments,
                                                          AddSpecial add) const {
  size_t num_bytes = 0;
  for (const TextFragment& fragment : fragments) num_bytes += fragment.text.size();
  std::vector<TokenId> out;
  out.reserve(num_bytes / 4 + fragments.size() + 2);
  if (add == AddSpecial::kModelDefault && adds_bos()) out.push_back(vocabulary_->bos());
  EncodeScratch scratch(num_bytes);
  bool begins_text = true;
  for (const TextFragment& fragment : fragments) {
    if (fragment.token != Vocabulary::kNone) {
      out.push_back(fragment.token);
      begins_text = true;
    } else {
      EncodeText(fragment.text, begins_text, scratch, out);
      begins_text = false;
    }
  }
  if (add == AddSpecial::kModelDefault && closing_token() != Vocabulary::kNone) out.push_back(closing_token());
  return out;
}

std::string VocabularyTokenizer::TokenText(TokenId id, SpecialTokens special) const {
  if (!vocabulary_->Contains(id)) return {};
  if (vocabulary_->Is(id, attribute::kUnknown | attribute::kControl)) {
    return special == SpecialTokens::kParse ? std::string(vocabulary_->text(id)) : std::string();
  }
  if (vocabulary_->Is(id, attribute::kUserDefined)) return std::string(vocabulary_->text(id));
  if (vocabulary_->Is(id, attribute::kNormal)) {
    return spelling_ == TokenSpelling::kByteLevel ? DecodeByteLevel(vocabulary_->text(id))
                                                  : UnescapeSpaces(vocabulary_->text(id));
  }
  if (vocabulary_->Is(id, attribute::kByte)) {
    if (const std::optional<uint8_t> byte = vocabulary_->ByteOf(id)) return std::string(1, static_cast<char>(*byte));
  }
  return {};
}

std::string VocabularyTokenizer::Decode(std::span<const TokenId> ids, SpecialTokens special) const {
  std::string out;
  bool drop_space = adds_space_prefix_;
  for (const TokenId id : ids) {
    const std::string text = TokenText(id, special);
    if (text.empty()) continue;
    out += std::string_view(text).substr(drop_space && text.front() == ' ' ? 1 : 0);
    drop_space = false;
  }
  return out;
}

TokenType VocabularyTokenizer::type_of(TokenId id) const {
  return vocabulary_->Contains(id) ? vocabulary_->type(id) : TokenType::kUndefined;
}

std::optional<TokenId> VocabularyTokenizer::Find(std::string_view text) const {
  return AsOptional(vocabulary_->Find(text));
}
std::optional<TokenId> VocabularyTokenizer::bos() const { return AsOptional(vocabulary_->bos()); }
std::optional<TokenId> VocabularyTokenizer::eos() const { return AsOptional(vocabulary_->eos()); }

Result<std::unique_ptr<Tokenizer>> Tokenizer::Create(TokenizerSpec spec) {
  if (spec.model == "gpt2" || spec.model == "gemma4" || spec.model == "whitespace") return CreateBpeTokenizer(spec);
  if (spec.model == "llama") return CreateSpmTokenizer(spec);
  if (spec.model == "t5") return CreateUnigramTokenizer(spec);
  if (spec.model == "bert") return CreateWordPieceTokenizer(spec);
  return Unimplemented(
      "tokenizer.ggml.model is \"{}\"; this program knows gpt2, llama, t5, bert, gemma4 and whitespace", spec.model);
}

}  // namespace lem
