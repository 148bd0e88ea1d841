// The normalisation table of a SentencePiece model (precompiled_charsmap): longest prefixes and what replaces them.
//
// Layout, little endian: uint32 size of the trie in bytes; the trie, an XOR-compressed compact double array of uint32
// (bits 0-7 the byte that leads here, bit 8 "has a value", bit 9 "offset is in units of 256", bits 10-30 offset; for a
// value: bits 0-30 a position in the strings and bit 31 set); then NUL-terminated strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/status.h"

namespace lem {

// A view: the bytes must outlive it. Thread-safe.
class Charsmap {
 public:
  // Nothing is replaced.
  Charsmap() = default;
  // Errors: DataLoss if the sizes disagree.
  static Result<Charsmap> Parse(std::string_view bytes);

  struct Replacement {
    size_t prefix_size = 0;  // bytes that are replaced
    std::string_view text;
  };
  // For the longest prefix of `text` that the table knows. Damaged tables give no replacement.
  std::optional<Replacement> Longest(std::string_view text) const;

 private:
  std::optional<uint32_t> Unit(size_t index) const;

  std::string_view trie_;
  std::string_view strings_;
};

}  // namespace lem
