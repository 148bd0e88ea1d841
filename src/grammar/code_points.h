// Sets of code points, and the bytes that stand for them: in UTF-8, or inside a JSON string.
//
// In a JSON string a code point has few spellings here: printable ASCII stands for itself (quote and backslash behind a
// backslash), control characters are escapes, the rest is UTF-8 or \uXXXX. So names can be told apart by their bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/expr.h"

namespace lem {

inline constexpr char32_t kMaxCodePoint = 0x10FFFF;

class CodePointSet {
 public:
  struct Range {
    char32_t low, high;
    friend auto operator<=>(const Range&, const Range&) = default;
  };

  CodePointSet() = default;
  CodePointSet(std::initializer_list<Range> ranges) {
    for (const Range& range : ranges) Add(range.low, range.high);
  }
  static CodePointSet All() { return {{0, kMaxCodePoint}}; }

  // REQUIRES: low <= high <= kMaxCodePoint.
  void Add(char32_t low, char32_t high);
  void Add(const CodePointSet& other);
  CodePointSet Complement() const;
  CodePointSet Intersect(const CodePointSet& other) const;
  bool Has(char32_t value) const;
  // Sorted, not overlapping, not touching.
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

// Nothing for what is not valid UTF-8; surrogates and overlong forms are not.
std::optional<std::u32string> DecodeUtf8(std::string_view text);
inline bool IsValidUtf8(std::string_view text) { return DecodeUtf8(text).has_value(); }

enum class TextForm : uint8_t { kUtf8, kJsonString };

// Makes expressions of sets of code points; surrogates are in none. Keeps what it made.
class CodePointCoder {
 public:
  CodePointCoder(ExprSet& exprs, TextForm form) : exprs_(exprs), form_(form) {}
  ExprId Encode(const CodePointSet& set);
  ExprId EncodeText(std::u32string_view text);
  ExprId AnyChar() { return Encode(CodePointSet::All()); }
  ExprId AnyText() { return exprs_.Repeat(AnyChar(), 0, kNoMax); }
  ExprSet& exprs() { return exprs_; }

 private:
  ExprId Utf8(const CodePointSet& set);
  ExprId Escapes(const CodePointSet& set);
  ExprSet& exprs_;
  TextForm form_;
  std::unordered_map<std::string, ExprId> made_;  // by the bytes of the ranges
};

}  // namespace lem
