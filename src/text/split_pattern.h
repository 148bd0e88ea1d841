// The small regular expressions that cut text into pieces before BPE, compiled to tests on bit masks.
//
// A CharClassSet gives each character class that its patterns use one bit; a text is turned into one mask per code
// point once, and every pattern then only tests bits. Matching is leftmost-first with backtracking, as in Perl or
// ECMAScript. Objects are immutable after compiling and thread-safe.
//
// Syntax: literals and the escapes \r \n \t \s \S \d \p{L} \p{M} \p{N} \p{P} \p{S} \p{Han}; classes [...], [^...] and
// [...--...] (without the second part); the quantifiers ? * + {m} {m,n}, all greedy; top-level alternatives a|b;
// (?:a|b) groups whose alternatives are sequences of classes, matched without giving back; (?!c) for one class; $ for
// the end of the segment.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/utf8.h"

namespace lem {

// A set of code points: ASCII by bits, the rest by category and by ranges.
struct CharSet {
  std::array<bool, 128> ascii{};
  std::array<bool, kNumCharClasses> categories{};
  std::vector<std::pair<char32_t, char32_t>> ranges;  // above ASCII, inclusive
  bool negated = false;

  bool Contains(char32_t value, CharClass category) const;
  bool operator==(const CharSet&) const = default;
};

// Bit masks over code points: bit i tells whether the code point is in class i.
using ClassMask = uint32_t;

class CharClassSet {
 public:
  // The bit of `include` without `exclude` (which may be empty). REQUIRES: at most 32 different classes.
  ClassMask Add(const CharSet& include, const CharSet& exclude);
  // Must be called after the last Add and before MaskOf.
  void Finish();

  ClassMask MaskOf(char32_t value) const { return value < 0x80 ? ascii_masks_[value] : MaskOfNonAscii(value); }

 private:
  struct Entry {
    CharSet include;
    CharSet exclude;
    bool operator==(const Entry&) const = default;
    bool Contains(char32_t value, CharClass category) const;
  };
  ClassMask MaskOfNonAscii(char32_t value) const;
  ClassMask Evaluate(char32_t value, CharClass category) const;

  std::vector<Entry> entries_;
  std::array<ClassMask, 128> ascii_masks_{};
  std::array<ClassMask, kNumCharClasses> category_masks_{};
  // Outside [first_range_, last_range_] a code point's mask depends on its category alone.
  char32_t first_range_ = 0x110000;
  char32_t last_range_ = 0;
};

class SplitPattern {
 public:
  // Compiles `pattern`, adding its classes to `classes`. REQUIRES: the syntax above; patterns are part of the program.
  SplitPattern(std::string_view pattern, CharClassSet& classes);

  // Cuts masks[begin, end) into matches and the gaps between them, and appends the end of each.
  void Split(std::span<const ClassMask> masks, size_t begin, size_t end, std::vector<size_t>& ends) const;

 private:
  friend class PatternCompiler;
  enum class ItemKind : uint8_t { kClass, kOptions, kNotAhead, kEnd };
  struct Item {
    ItemKind kind = ItemKind::kClass;
    ClassMask mask = 0;  // kClass, kNotAhead
    size_t min = 1;
    size_t max = 1;
    std::vector<std::vector<ClassMask>> options;  // kOptions: each a sequence of classes
  };
  struct Alternative {
    std::vector<Item> items;
    ClassMask first = 0;  // classes that a match can begin with; all bits if it may be empty
  };
  // The end of a match of items[item..] at pos, or kNoMatch.
  static constexpr size_t kNoMatch = SIZE_MAX;
  static size_t Match(const Alternative& alternative, size_t item, std::span<const ClassMask> masks, size_t pos);
  static ClassMask FirstOf(const Alternative& alternative);

  std::vector<Alternative> alternatives_;
  ClassMask first_ = 0;
};

}  // namespace lem
