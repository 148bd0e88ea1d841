// Cuts special tokens out of text before it is tokenised, with the same result as trying them one by one from the
// longest, each from left to right, as llama.cpp does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace lem {

// A stretch of ordinary text, or a special token.
struct TextFragment {
  TokenId token = Vocabulary::kNone;  // kNone: ordinary text
  std::string_view text;
};

struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

// Immutable and thread-safe. The vocabulary must outlive it.
class SpecialMatcher {
 public:
  explicit SpecialMatcher(const Vocabulary& vocabulary);

  // User-defined tokens are cut out always; control and unknown tokens only with kParse.
  std::vector<TextFragment> Cut(std::string_view text, SpecialTokens special) const;
  // As with kParse, but control and unknown tokens are cut out only where they lie wholly in one of `parsed`.
  // REQUIRES: the ranges are in order and neither overlap nor touch.
  std::vector<TextFragment> CutWithin(std::string_view text, std::span<const ByteRange> parsed) const;

 private:
  struct Table {
    std::vector<TokenId> tokens;  // in the order in which they are tried
    ByteTrie trie;                // values: positions in tokens
  };
  static Table MakeTable(const Vocabulary& vocabulary, uint16_t excluded_attributes);
  // Cuts `table`'s tokens out of `text` where `allows` (token, begin and end in the text) is true.
  template <typename Allows>
  std::vector<TextFragment> CutTokens(const Table& table, std::string_view text, const Allows& allows) const;

  const Vocabulary& vocabulary_;
  Table always_;
  Table parsed_;
};

}  // namespace lem
