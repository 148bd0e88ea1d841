// A set of byte values. A value type without invariants.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace lem {

struct ByteSet {
  std::array<uint64_t, 4> words{};

  static ByteSet Range(unsigned low, unsigned high) {
    ByteSet set;
    for (unsigned byte = low; byte <= high; ++byte) set.Add(static_cast<uint8_t>(byte));
    return set;
  }
  static ByteSet All() { return {{~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}}}; }
  static ByteSet Of(uint8_t byte) {
    ByteSet set;
    set.Add(byte);
    return set;
  }

  void Add(uint8_t byte) { words[byte >> 6] |= uint64_t{1} << (byte & 63); }
  bool Has(uint8_t byte) const { return (words[byte >> 6] >> (byte & 63) & 1) != 0; }
  bool IsWithin(const ByteSet& other) const {
    for (size_t i = 0; i < 4; ++i) {
      if ((words[i] & ~other.words[i]) != 0) return false;
    }
    return true;
  }
  bool Empty() const { return (words[0] | words[1] | words[2] | words[3]) == 0; }
  int Count() const {
    return std::popcount(words[0]) + std::popcount(words[1]) + std::popcount(words[2]) + std::popcount(words[3]);
  }
  int CountIn(const ByteSet& other) const {
    ByteSet both = *this;
    both &= other;
    return both.Count();
  }
  // REQUIRES: !Empty().
  uint8_t Least() const {
    unsigned i = 0;
    while (words[i] == 0) ++i;
    return static_cast<uint8_t>(i * 64 + static_cast<unsigned>(std::countr_zero(words[i])));
  }
  ByteSet& operator|=(const ByteSet& other) {
    for (size_t i = 0; i < 4; ++i) words[i] |= other.words[i];
    return *this;
  }
  ByteSet& operator&=(const ByteSet& other) {
    for (size_t i = 0; i < 4; ++i) words[i] &= other.words[i];
    return *this;
  }
  friend bool operator==(const ByteSet&, const ByteSet&) = default;
};

}  // namespace lem
