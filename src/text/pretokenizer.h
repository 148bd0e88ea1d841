// Cuts text into the pieces within which BPE merges, as each tokenizer.ggml.pre name asks for.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/split_pattern.h"

namespace lem {

// What else a tokenizer.ggml.pre name implies.
struct PreTokenizerTraits {
  bool ignore_merges = false;        // a piece that is a token as a whole is taken as it is
  bool add_bos = false;              // default of add_bos_token
  bool no_default_bos = false;       // there is no BOS unless the file names one
  bool byte_level = true;            // pieces are spelled in GPT-2's byte alphabet; else raw UTF-8 with <0xXX> fallback
  bool escapes_spaces = false;       // ' ' becomes U+2581 first (SentencePiece spelling)
  bool merges_newline_runs = false;  // a run of '\n' that is a token is taken as it is
  bool always_adds_bos = false;      // add_bos_token = false in the file is not believed
};

struct PreTokenizerFamily;

// Immutable and thread-safe.
class PreTokenizer {
 public:
  // An empty name is "default". Errors: Unimplemented for a name that is not known.
  static Result<PreTokenizer> Create(std::string_view name);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  const PreTokenizerTraits& traits() const { return traits_; }

  // The lengths in bytes of the pieces of `text`, in order; they add up to text.size().
  // REQUIRES: IsStableUtf8(text).
  std::vector<size_t> Split(std::string_view text) const;

 private:
  struct Rule;
  explicit PreTokenizer(const PreTokenizerFamily& family);

  PreTokenizerTraits traits_;
  CharClassSet classes_;
  std::vector<Rule> rules_;
};

}  // namespace lem
