// 64-bit keys to 32-bit numbers, open addressing: what the tables of a grammar at work are made of. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/flat_index.h"

namespace lem {

class NumberMap {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // kNone if there is none.
  uint32_t Find(uint64_t key) const {
    if (slots_.empty()) return kNone;
    for (size_t at = Hash(key);; ++at) {
      const Slot& slot = slots_[at & (slots_.size() - 1)];
      if (slot.value == kNone || slot.key == key) return slot.value;
    }
  }
  // Sets or replaces. REQUIRES: value != kNone.
  void Set(uint64_t key, uint32_t value) {
    if ((size_ + 1) * 2 > slots_.size()) Grow();
    Slot& slot = SlotOf(key);
    if (slot.value == kNone) ++size_;
    slot = {key, value};
  }
  void Clear() {
    slots_.clear();
    size_ = 0;
  }
  size_t size() const { return size_; }
  size_t MemoryBytes() const { return slots_.size() * sizeof(Slot); }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t value = kNone;
  };
  static size_t Hash(uint64_t key) { return MixBits(key ^ 0x2545F4914F6CDD1D, 0x9E3779B97F4A7C15); }
  Slot& SlotOf(uint64_t key) {
    for (size_t at = Hash(key);; ++at) {
      Slot& slot = slots_[at & (slots_.size() - 1)];
      if (slot.value == kNone || slot.key == key) return slot;
    }
  }
  void Grow() {
    std::vector<Slot> old(slots_.empty() ? 64 : slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.value != kNone) SlotOf(slot.key) = slot;
    }
  }
  std::vector<Slot> slots_;
  size_t size_ = 0;
};

}  // namespace lem
