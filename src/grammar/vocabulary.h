// The tokens of a model as tries of bytes, in the order of a walk, with the plain ones apart.
//
// Plain tokens are whole characters that a JSON string holds as they are: no quote, no backslash, no control character.
// A state that takes any of them up to a length takes all of them at once.
#pragma once

#include <vector>

#include "grammar/grammar.h"
#include "grammar/plain_trie.h"

namespace lem {

struct GrammarVocabulary::Rep {
  // Nodes lie in preorder: the first child of a node is the next one, its next sibling the one at `end`.
  struct TrieNode {
    uint32_t end;
    TokenId token;  // with this text, or kNoToken
    uint8_t byte;
  };
  struct Range {
    uint32_t begin = 0, end = 0;
  };
  static constexpr TokenId kNoToken = -1;
  static constexpr uint32_t kMaxPlain = 16;

  std::vector<TrieNode> nodes;
  Range plain;       // of at most kMaxPlain characters
  Range long_plain;  // of more
  Range others;
  // The walk of `others` inside a JSON string of any characters: tokens that stay in it, and nodes where it closes, by
  // the characters before. A token that ends inside a character takes all of it.
  struct InString {
    uint32_t chars;
    uint32_t node;
    friend auto operator<=>(const InString&, const InString&) = default;
  };
  std::vector<InString> staying, closing;                 // sorted
  uint32_t most_bytes = 0;                                // of any token
  uint32_t most_chars = 0;                                // of any token inside a string
  std::vector<uint32_t> string_mask;                      // what may follow in a string without bounds
  std::vector<uint32_t> string_left;                      // nodes with children where it closes
  std::vector<std::pair<uint32_t, TokenId>> long_tokens;  // of long_plain, by characters

  PlainTrie by_characters;  // all tokens

  std::vector<TokenId> next_same;  // by id: another token of the same text, or kNoToken
  std::vector<std::string> texts;  // by id; empty: not made of text
  std::vector<bool> is_end;        // by id
  std::vector<TokenId> end_tokens;
  // Masks of the plain tokens of at most k characters, at k * mask_words; k is 0 to kMaxPlain.
  std::vector<uint32_t> plain_masks;
  size_t mask_words = 0;
  uint64_t id = 0;  // of this vocabulary in this process

  // True if some token is longer than `text` and begins with it.
  bool HasLonger(std::string_view text) const;
};

}  // namespace lem
