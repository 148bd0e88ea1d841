// Two open-addressing hash tables made for tokenisers: strings to numbers and pairs of numbers to pairs of numbers.
// Built once, then read by many threads.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace lem {

// Secret of this process: a vocabulary from a file cannot be made to collide.
uint64_t HashSeed();

inline uint64_t MixBits(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t HashString(std::string_view text, uint64_t seed) {
  constexpr uint64_t kPrime = 0x9E3779B97F4A7C15;
  const char* data = text.data();
  size_t left = text.size();
  uint64_t hash = seed ^ (left * kPrime);
  const auto load = [](const char* from, size_t count) {
    uint64_t word = 0;
    std::memcpy(&word, from, count);
    return word;
  };
  for (; left > 8; data += 8, left -= 8) hash = MixBits(hash ^ load(data, 8), kPrime ^ seed);
  // Small copies of a fixed size are single loads; one of a variable size is a call.
  uint64_t tail = 0;
  if (left >= 4) {
    tail = load(data, 4) | load(data + left - 4, 4) << 32;
  } else if (left > 0) {
    tail = load(data, 1) | load(data + left / 2, 1) << 8 | load(data + left - 1, 1) << 16;
  }
  return MixBits(hash ^ tail, kPrime);
}

// Strings to their index in an array that the owner keeps; the array is passed to each call.
class StringIndex {
 public:
  static constexpr int32_t kNone = -1;

  StringIndex() : seed_(HashSeed()) {}
  void Reserve(size_t count) {
    const size_t capacity = std::bit_ceil(count * 3 / 2 + 8);
    if (capacity > slots_.size()) Rehash(capacity);
  }

  int32_t Find(std::string_view text, const std::vector<std::string_view>& strings) const {
    if (slots_.empty()) return kNone;
    const uint64_t hash = HashString(text, seed_);
    for (size_t at = hash & Mask();; at = (at + 1) & Mask()) {
      const Slot& slot = slots_[at];
      if (slot.index == kNone) return kNone;
      if (slot.tag == Tag(hash) && strings[static_cast<size_t>(slot.index)] == text) return slot.index;
    }
  }

  // The index that strings[index] already has, or `index`, which it has from now on.
  int32_t FindOrInsert(int32_t index, const std::vector<std::string_view>& strings) {
    if ((size_ + 1) * 4 > slots_.size() * 3) Rehash(slots_.empty() ? 16 : slots_.size() * 2, strings);
    const std::string_view text = strings[static_cast<size_t>(index)];
    const uint64_t hash = HashString(text, seed_);
    size_t at = hash & Mask();
    for (; slots_[at].index != kNone; at = (at + 1) & Mask()) {
      if (slots_[at].tag == Tag(hash) && strings[static_cast<size_t>(slots_[at].index)] == text)
        return slots_[at].index;
    }
    slots_[at] = {Tag(hash), index};
    ++size_;
    return index;
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    int32_t index = kNone;
  };
  static uint32_t Tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  size_t Mask() const { return slots_.size() - 1; }
  void Rehash(size_t capacity) { slots_.assign(capacity, {}); }  // REQUIRES: empty
  void Rehash(size_t capacity, const std::vector<std::string_view>& strings) {
    std::vector<Slot> old(capacity);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.index == kNone) continue;
      size_t at = HashString(strings[static_cast<size_t>(slot.index)], seed_) & Mask();
      while (slots_[at].index != kNone) at = (at + 1) & Mask();
      slots_[at] = slot;
    }
  }

  uint64_t seed_;
  size_t size_ = 0;
  std::vector<Slot> slots_;
};

// What two neighbouring symbols become. The lowest rank is joined first.
struct MergeResult {
  int32_t rank = 0;
  int32_t merged = -1;  // -1: they are not joined
};

// (left, right) to what they become; left and right are at least 0.
class PairIndex {
 public:
  PairIndex() : seed_(HashSeed() | 1) {}
  // For at most `count` pairs in all.
  void Reserve(size_t count) { slots_.assign(std::bit_ceil(count * 3 / 2 + 8), {}); }

  MergeResult Find(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    for (size_t at = Hash(key) & Mask();; at = (at + 1) & Mask()) {
      if (slots_[at].key == key) return slots_[at].value;
      if (slots_[at].key == kEmpty) return {};
    }
  }
  // Keeps what is there.
  void Insert(int32_t left, int32_t right, MergeResult value) {
    const uint64_t key = Key(left, right);
    size_t at = Hash(key) & Mask();
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & Mask();
    if (slots_[at].key == kEmpty) slots_[at] = {key, value};
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    MergeResult value;
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  uint64_t Hash(uint64_t key) const { return MixBits(key ^ seed_, 0x9E3779B97F4A7C15); }
  size_t Mask() const { return slots_.size() - 1; }

  uint64_t seed_;
  std::vector<Slot> slots_;
};

}  // namespace lem
