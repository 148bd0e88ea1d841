// Text to token ids and back: byte-level BPE, SentencePiece (unigram and BPE) and WordPiece, from a model's own
// vocabulary.
//
// A Tokenizer is immutable after Create and thread-safe. User text can never become a control token: special tokens are
// matched only when the caller asks for SpecialTokens::kParse, which it does only for text it made itself (a rendered
// template with user text escaped out of it, a trusted command line).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lem {

using TokenId = int32_t;

// The numbers that GGUF files give to token types.
enum class TokenType : int32_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// A vocabulary as a model file states it. The views must stay valid until Create returns unless `owner` keeps them
// alive.
struct TokenizerSpec {
  std::string model;                     // tokenizer.ggml.model: "gpt2", "llama", "t5", "bert"
  std::string pre;                       // tokenizer.ggml.pre: "smollm", "qwen2", ...; empty = not stated
  std::vector<std::string_view> tokens;  // by id
  std::vector<float> scores;             // empty, or one per token
  std::vector<int32_t> token_types;      // empty, or one per token
  std::vector<std::string_view> merges;  // "left right", best first
  std::optional<TokenId> bos, eos, eot, eom, unknown, separator, padding, mask;
  std::optional<TokenId> fim_prefix, fim_suffix, fim_middle, fim_padding, fim_repository, fim_separator;
  std::vector<TokenId> extra_end_tokens;  // other ids that end a generation
  // Unset = the default of the model kind (as llama.cpp has it).
  std::optional<bool> add_bos, add_eos, add_separator, add_space_prefix, remove_extra_whitespaces;
  std::optional<bool> lowercase, strip_accents;  // WordPiece normalisation
  // general.name and general.architecture: some models' special tokens swallow white space, which only these tell.
  std::string model_name, architecture;
  std::string_view precompiled_charsmap;  // SentencePiece normalisation table, may be empty
  std::shared_ptr<const void> owner;      // kept by the Tokenizer: what the views point into
};

// kParse: text such as "<|im_end|>" becomes the control token of that name. kAsText: it is ordinary text.
enum class SpecialTokens { kAsText, kParse };
// kModelDefault: BOS and EOS are added as the model file says; kNone: nothing is added.
enum class AddSpecial { kNone, kModelDefault };

// A stretch of a text, and whether control tokens may be matched in it.
struct TextSpan {
  std::string_view text;
  SpecialTokens special = SpecialTokens::kAsText;
};

class Tokenizer {
 public:
  // Errors: InvalidArgument or DataLoss naming the key and both lengths when arrays disagree; Unimplemented for a model
  // kind or pre-tokeniser name that is unknown. Ids outside the vocabulary count as not stated. Of equal token texts or
  // merges the first counts; merges may name texts that are no tokens.
  static Result<std::unique_ptr<Tokenizer>> Create(TokenizerSpec spec);
  virtual ~Tokenizer() = default;

  // REQUIRES: text.size() < 2 GiB.
  virtual std::vector<TokenId> Encode(std::string_view text, SpecialTokens special, AddSpecial add) const = 0;
  // The spans as one text: ordinary tokens form across their borders, so the ids are those of the whole text encoded
  // with kParse, except that a control token is matched only where neighbouring kParse spans hold all of it.
  virtual std::vector<TokenId> EncodeSpans(std::span<const TextSpan> spans, AddSpecial add) const = 0;

  // Bytes of one token as they appear in text; control tokens are empty unless `special` is kParse (then their name).
  // Ids outside the vocabulary are empty. SentencePiece: U+2581 is a space here.
  virtual std::string TokenText(TokenId id, SpecialTokens special) const = 0;
  // Bytes of all tokens; drops the single leading space that SentencePiece models add on encoding.
  virtual std::string Decode(std::span<const TokenId> ids, SpecialTokens special) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual TokenType type_of(TokenId id) const = 0;
  // The token with exactly this text in the vocabulary, if any.
  virtual std::optional<TokenId> Find(std::string_view text) const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  virtual bool adds_bos() const = 0;
  virtual bool adds_eos() const = 0;
  // True for every token that ends an answer: eos, eot, eom and well-known end markers such as <|im_end|>.
  virtual bool IsEndOfGeneration(TokenId id) const = 0;
};

}  // namespace lem
