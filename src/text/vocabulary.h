// A vocabulary with what llama.cpp derives from it: token attributes, the ids of special tokens, the tokens that end an
// answer, and the special tokens that are cut out of text before anything else.
//
// Immutable after Create and thread-safe. Token texts are views into what TokenizerSpec::owner keeps alive.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/flat_index.h"
#include "text/tokenizer.h"

namespace lem {

// A token may have several.
namespace token_attribute {
inline constexpr uint16_t kUndefined = 1;
inline constexpr uint16_t kNormal = 2;
inline constexpr uint16_t kUnknown = 4;
inline constexpr uint16_t kControl = 8;
inline constexpr uint16_t kUserDefined = 16;
inline constexpr uint16_t kUnused = 32;
inline constexpr uint16_t kByte = 64;
inline constexpr uint16_t kStripLeft = 128;   // white space before the token is swallowed
inline constexpr uint16_t kStripRight = 256;  // and after it
}  // namespace token_attribute

// What a model kind and pre-tokeniser name say unless the file says otherwise.
struct VocabularyDefaults {
  TokenId bos = -1, eos = -1, unknown = -1, separator = -1;
  bool add_bos = false, add_eos = false, add_separator = false;
  bool always_add_bos = false;
};

class Vocabulary {
 public:
  static constexpr TokenId kNone = -1;

  // Moves tokens and scores out of `spec`, and resets its ids that lie outside the vocabulary. Errors: as
  // Tokenizer::Create.
  static Result<Vocabulary> Create(TokenizerSpec& spec, const VocabularyDefaults& defaults);

  TokenId size() const { return static_cast<TokenId>(texts_.size()); }
  bool Contains(TokenId id) const { return id >= 0 && id < size(); }
  // kNone if there is none.
  TokenId Find(std::string_view text) const { return index_.Find(text, texts_); }

  // REQUIRES for all of these: Contains(id).
  std::string_view text(TokenId id) const { return texts_[static_cast<size_t>(id)]; }
  float score(TokenId id) const { return scores_.empty() ? 0.0F : scores_[static_cast<size_t>(id)]; }
  bool Is(TokenId id, uint16_t attributes) const { return (attributes_[static_cast<size_t>(id)] & attributes) != 0; }
  TokenType type(TokenId id) const;
  // The byte that <0xXX> stands for; nullopt if the text has another form.
  std::optional<uint8_t> ByteOf(TokenId id) const;

  // Ids by byte of <0xXX>, or kNone.
  TokenId ByteToken(uint8_t byte) const { return byte_tokens_[byte]; }

  TokenId bos() const { return bos_; }
  TokenId eos() const { return eos_; }
  TokenId unknown() const { return unknown_; }
  TokenId separator() const { return separator_; }
  bool add_bos() const { return add_bos_; }
  bool add_eos() const { return add_eos_; }
  bool EndsGeneration(TokenId id) const;
  // Control, user-defined and unknown tokens in the order in which they are looked for in text: the longest first.
  const std::vector<TokenId>& special_tokens() const { return special_tokens_; }

  const std::vector<std::string_view>& texts() const { return texts_; }

 private:
  Status LoadTokens(TokenizerSpec& spec);
  void DropForeignIds(TokenizerSpec& spec) const;
  Status LoadIds(const TokenizerSpec& spec, const VocabularyDefaults& defaults);
  TokenId ControlNamed(std::optional<TokenId> stated, std::initializer_list<std::string_view> names);
  void MarkEndOfGeneration(const TokenizerSpec& spec);
  void RemoveEnd(TokenId id, uint16_t new_attributes);
  void ListSpecialTokens();
  void MarkStripping(const TokenizerSpec& spec);
  uint16_t& attributes(TokenId id) { return attributes_[static_cast<size_t>(id)]; }

  std::vector<std::string_view> texts_;
  std::deque<std::string> own_texts_;  // for tokens that the file leaves empty
  std::vector<float> scores_;
  std::vector<uint16_t> attributes_;
  std::array<TokenId, 256> byte_tokens_{};
  StringIndex index_;
  TokenId bos_ = kNone, eos_ = kNone, unknown_ = kNone, separator_ = kNone;
  bool add_bos_ = false, add_eos_ = false;
  std::vector<TokenId> end_tokens_;  // sorted
  std::vector<TokenId> special_tokens_;
  std::shared_ptr<const void> owner_;
};

}  // namespace lem
