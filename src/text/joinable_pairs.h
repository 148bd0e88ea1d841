// Where no merge can cross.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace lem {

// Pairs of neighbouring bytes that stand side by side in some token. Where a text has a pair that is in none, no merge
// can cross: the text falls apart into short pieces that merge on their own, with the same result.
class JoinablePairs {
 public:
  void AddToken(std::string_view text) {
    for (size_t i = 1; i < text.size(); ++i) {
      if (text.substr(i).starts_with(kEscapedSpace)) {
        before_space_.set(static_cast<uint8_t>(text[i - 1]));
      } else {
        pairs_.set(Key(text[i - 1], text[i]));
      }
    }
  }
  // The first piece of `text`. REQUIRES: !text.empty().
  std::string_view TakePiece(std::string_view text) const {
    size_t end = 0;
    do {
      end = std::min(end + ClaimedUtf8Length(text[end]), text.size());
    } while (end < text.size() && Joins(text, end));
    return text.substr(0, end);
  }

 private:
  // REQUIRES: 0 < position < text.size(), at the beginning of a code point.
  bool Joins(std::string_view text, size_t position) const {
    if (text.substr(position).starts_with(kEscapedSpace)) {
      return before_space_.test(static_cast<uint8_t>(text[position - 1]));
    }
    return pairs_.test(Key(text[position - 1], text[position]));
  }

  static size_t Key(char a, char b) {
    return static_cast<size_t>(static_cast<uint8_t>(a)) << 8 | static_cast<uint8_t>(b);
  }
  std::bitset<65536> pairs_;
  std::bitset<256> before_space_;
};

}  // namespace lem
