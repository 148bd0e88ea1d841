// Cuts special tokens out of text before it is tokenised, with the same result as trying them one by one from the
// longest, each from left to right, as llama.cpp does.
#pragma once

#include <cstddef>
#include <cstdint>
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

// Immutable and thread-safe. The vocabulary must outlive it.
class SpecialMatcher {
 public:
  explicit SpecialMatcher(const Vocabulary& vocabulary);

  // User-defined tokens are cut out always; control and unknown tokens only with kParse.
  std::vector<TextFragment> Cut(std::string_view text, SpecialTokens special) const;

 private:
  struct Table {
    std::vector<TokenId> tokens;  // in the order in which they are tried
    ByteTrie trie;                // values: positions in tokens
  };
  static Table MakeTable(const Vocabulary& vocabulary, uint16_t excluded_attributes);
  // Positions in table.tokens of those that occur in `text`, in order.
  static std::vector<int32_t> FindPresent(const Table& table, std::string_view text);
  void CutOne(TokenId token, std::vector<TextFragment>& fragments, std::vector<TextFragment>& scratch) const;

  const Vocabulary& vocabulary_;
  Table always_;
  Table parsed_;
};

}  // namespace lem
