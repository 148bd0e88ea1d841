// What all tokenizers share: the vocabulary, cutting out special tokens, BOS and EOS, and turning ids back into text.
// A kind of tokenizer adds EncodeText and says how it spells text in its tokens.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/piece_merger.h"
#include "text/special_matcher.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace lem {

// How token texts in the vocabulary stand for bytes of text.
enum class TokenSpelling {
  kByteLevel,  // GPT-2's alphabet of 256 printable code points
  kEscaped,    // UTF-8 with U+2581 for a space
};

// What one call of Encode keeps from one stretch of text to the next.
struct EncodeScratch {
  explicit EncodeScratch(size_t text_size) : cache(text_size) {}
  // `text` kept until the call ends, as PieceCache needs it.
  std::string_view Keep(std::string text) { return texts.emplace_back(std::move(text)); }

  std::deque<std::string> texts;
  PieceMerger merger;
  PieceCache cache;
};

class VocabularyTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(std::string_view text, SpecialTokens special, AddSpecial add) const override;
  std::vector<TokenId> EncodeSpans(std::span<const TextSpan> spans, AddSpecial add) const override;
  std::string TokenText(TokenId id, SpecialTokens special) const override;
  std::string Decode(std::span<const TokenId> ids, SpecialTokens special) const override;

  int32_t vocab_size() const override { return vocabulary_->size(); }
  TokenType type_of(TokenId id) const override;
  std::optional<TokenId> Find(std::string_view text) const override;
  std::optional<TokenId> bos() const override;
  std::optional<TokenId> eos() const override;
  bool adds_bos() const override { return vocabulary_->add_bos(); }
  bool adds_eos() const override { return vocabulary_->add_eos(); }
  bool IsEndOfGeneration(TokenId id) const override { return vocabulary_->EndsGeneration(id); }

 protected:
  VocabularyTokenizer(Vocabulary vocabulary, TokenSpelling spelling, bool adds_space_prefix);

  // Appends the tokens of ordinary text. `begins_text`: nothing or a special token stands before it.
  virtual void EncodeText(std::string_view text, bool begins_text, EncodeScratch& scratch,
                          std::vector<TokenId>& out) const = 0;
  // What AddSpecial::kModelDefault puts after the text; kNone for nothing.
  virtual TokenId closing_token() const { return adds_eos() ? vocabulary_->eos() : Vocabulary::kNone; }

  const Vocabulary& vocabulary() const { return *vocabulary_; }
  bool adds_space_prefix() const { return adds_space_prefix_; }

 private:
  std::vector<TokenId> EncodeFragments(std::span<const TextFragment> fragments, AddSpecial add) const;

  std::unique_ptr<const Vocabulary> vocabulary_;  // at a fixed address: special_ refers to it
  SpecialMatcher special_;
  TokenSpelling spelling_;
  bool adds_space_prefix_;
};

inline constexpr std::string_view kEscapedSpace = "\u2581";
// Every ' ' as U+2581.
std::string EscapeSpaces(std::string_view text);

// One function a kind; each may move parts out of the spec. Errors: as Tokenizer::Create.
Result<std::unique_ptr<Tokenizer>> CreateBpeTokenizer(TokenizerSpec& spec);
Result<std::unique_ptr<Tokenizer>> CreateSpmTokenizer(TokenizerSpec& spec);
Result<std::unique_ptr<Tokenizer>> CreateUnigramTokenizer(TokenizerSpec& spec);
Result<std::unique_ptr<Tokenizer>> CreateWordPieceTokenizer(TokenizerSpec& spec);

}  // namespace lem
