// FNV-1a over words, for tables and to find damage: quick, and no defence against whoever chooses the words.
#pragma once

#include <cstdint>

namespace lem {

inline constexpr uint64_t kHashSeed = 0xcbf29ce484222325u;

// The hash of what `hash` stands for and one word more.
constexpr uint64_t HashWord(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x100000001b3u;
  return hash ^ hash >> 29;  // the upper bits of a word reach the lower ones of the hash
}

}  // namespace lem
