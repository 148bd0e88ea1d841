#include "grammar/code_points.h"

#include <algorithm>
#include <span>

namespace lem {
namespace {

constexpr char32_t kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

std::vector<uint8_t> Utf8Of(char32_t value) {
  const auto byte = [](char32_t bits, unsigned lead) { return static_cast<uint8_t>(bits | lead); };
  if (value < 0x80) return {byte(value, 0)};
  if (value < 0x800) return {byte(value >> 6, 0xC0), byte(value & 63, 0x80)};
  if (value < 0x10000) return {byte(value >> 12, 0xE0), byte(value >> 6 & 63, 0x80), byte(value & 63, 0x80)};
  return {byte(value >> 18, 0xF0), byte(value >> 12 & 63, 0x80), byte(value >> 6 & 63, 0x80), byte(value & 63, 0x80)};
}

// Sequences of symbols between two of the same length, compared symbol by symbol, where the symbols after the first run
// from `least` to `most`. `symbol(low, high)` is the expression of one.
template <typename Symbol>
ExprId Between(ExprSet& exprs, std::span<const uint8_t> low, std::span<const uint8_t> high, uint8_t least, uint8_t most,
               const Symbol& symbol) {
  if (low.empty()) return kEpsilon;
  const auto rest_low = low.subspan(1), rest_high = high.subspan(1);
  const auto between = [&](std::span<const uint8_t> from, std::span<const uint8_t> to) {
    return Between(exprs, from, to, least, most, symbol);
  };
  if (low[0] == high[0]) return exprs.Concat(symbol(low[0], low[0]), between(rest_low, rest_high));
  const std::vector<uint8_t> all_least(rest_low.size(), least), all_most(rest_low.size(), most);
  unsigned first = low[0], last = high[0];
  std::vector<ExprId> options;
  if (!std::ranges::equal(rest_low, all_least)) {
    options.push_back(exprs.Concat(symbol(low[0], low[0]), between(rest_low, all_most)));
    ++first;
  }
  if (!std::ranges::equal(rest_high, all_most)) {
    options.push_back(exprs.Concat(symbol(high[0], high[0]), between(all_least, rest_high)));
    --last;
  }
  if (first <= last) {
    options.push_back(
        exprs.Concat(symbol(static_cast<uint8_t>(first), static_cast<uint8_t>(last)), between(all_least, all_most)));
  }
  return exprs.Alt(std::move(options));
}

ExprId Utf8Between(ExprSet& exprs, char32_t low, char32_t high) {
  const auto symbol = [&](uint8_t from, uint8_t to) { return exprs.Bytes(ByteSet::Range(from, to)); };
  std::vector<ExprId> options;
  for (const auto& [from, to] : {std::pair<char32_t, char32_t>{0, 0x7F},
                                 {0x80, 0x7FF},
                                 {0x800, kFirstSurrogate - 1},
                                 {kLastSurrogate + 1, 0xFFFF},
                                 {0x10000, kMaxCodePoint}}) {
    const char32_t begin = std::max(low, from), end = std::min(high, to);
    if (begin > end) continue;
    options.push_back(Between(exprs, Utf8Of(begin), Utf8Of(end), 0x80, 0xBF, symbol));
  }
  return exprs.Alt(std::move(options));
}

std::vector<uint8_t> Nibbles(char32_t value) {
  return {static_cast<uint8_t>(value >> 12 & 15), static_cast<uint8_t>(value >> 8 & 15),
          static_cast<uint8_t>(value >> 4 & 15), static_cast<uint8_t>(value & 15)};
}

// \uXXXX for the 16-bit values from `low` to `high`.
ExprId UnicodeEscape(ExprSet& exprs, char32_t low, char32_t high) {
  const auto symbol = [&](uint8_t from, uint8_t to) {
    ByteSet set;
    for (unsigned digit = from; digit <= to; ++digit) {
      set.Add(static_cast<uint8_t>("0123456789abcdef"[digit]));
      set.Add(static_cast<uint8_t>("0123456789ABCDEF"[digit]));
    }
    return exprs.Bytes(set);
  };
  return exprs.Concat(exprs.Literal("\\u"), Between(exprs, Nibbles(low), Nibbles(high), 0, 15, symbol));
}

// Two escapes, a high and a low surrogate.
ExprId PairEscape(ExprSet& exprs, char32_t low, char32_t high) {
  const char32_t from = low - 0x10000, to = high - 0x10000;
  const auto pair = [&](char32_t first_low, char32_t first_high, char32_t second_low, char32_t second_high) {
    return exprs.Concat(UnicodeEscape(exprs, 0xD800 + first_low, 0xD800 + first_high),
                        UnicodeEscape(exprs, 0xDC00 + second_low, 0xDC00 + second_high));
  };
  char32_t first = from >> 10, last = to >> 10;
  if (first == last) return pair(first, first, from & 0x3FF, to & 0x3FF);
  std::vector<ExprId> options;
  if ((from & 0x3FF) != 0) {
    options.push_back(pair(first, first, from & 0x3FF, 0x3FF));
    ++first;
  }
  if ((to & 0x3FF) != 0x3FF) {
    options.push_back(pair(last, last, 0, to & 0x3FF));
    --last;
  }
  if (first <= last) options.push_back(pair(first, last, 0, 0x3FF));
  return exprs.Alt(std::move(options));
}

}  // namespace

void CodePointSet::Add(char32_t low, char32_t high) {
  // The ranges that overlap or touch the new one become part of it.
  const auto begin = std::ranges::lower_bound(ranges_, low, {}, [](const Range& range) { return range.high + 1; });
  auto end = begin;
  for (; end != ranges_.end() && end->low <= high + 1; ++end) {
    low = std::min(low, end->low);
    high = std::max(high, end->high);
  }
  ranges_.insert(ranges_.erase(begin, end), {low, high});
}

void CodePointSet::Add(const CodePointSet& other) {
  for (const Range& range : other.ranges_) Add(range.low, range.high);
}

CodePointSet CodePointSet::Complement() const {
  CodePointSet result;
  char32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.low > next) result.ranges_.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= kMaxCodePoint) result.ranges_.push_back({next, kMaxCodePoint});
  return result;
}

CodePointSet CodePointSet::Intersect(const CodePointSet& other) const {
  CodePointSet joined = Complement();
  joined.Add(other.Complement());
  return joined.Complement();
}

bool CodePointSet::Has(char32_t value) const {
  const auto at = std::ranges::lower_bound(ranges_, value, {}, &Range::high);
  return at != ranges_.end() && at->low <= value;
}

std::optional<std::u32string> DecodeUtf8(std::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    const size_t length = first < 0x80   ? 1
                          : first < 0xC2 ? 0
                          : first < 0xE0 ? 2
                          : first < 0xF0 ? 3
                          : first < 0xF5 ? 4
                                         : 0;
    if (length == 0 || i + length > text.size()) return std::nullopt;
    char32_t value = length == 1 ? first : first & (0x7F >> length);
    for (size_t j = 1; j < length; ++j) {
      const auto byte = static_cast<uint8_t>(text[i + j]);
      if ((byte & 0xC0) != 0x80) return std::nullopt;
      value = value << 6 | (byte & 63);
    }
    constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < kLeast[length] || value > kMaxCodePoint || (value >= kFirstSurrogate && value <= kLastSurrogate)) {
      return std::nullopt;
    }
    out.push_back(value);
    i += length;
  }
  return out;
}

ExprId CodePointCoder::Utf8(const CodePointSet& set) {
  std::vector<ExprId> options;
  for (const CodePointSet::Range& range : set.ranges()) {
    options.push_back(Utf8Between(exprs_, range.low, range.high));
  }
  return exprs_.Alt(std::move(options));
}

ExprId CodePointCoder::Escapes(const CodePointSet& set) {
  std::vector<ExprId> options;
  ByteSet letters;  // behind one backslash
  for (const auto& [value, letter] : {std::pair<char32_t, char>{'"', '"'},
                                      {'\\', '\\'},
                                      {'\b', 'b'},
                                      {'\f', 'f'},
                                      {'\n', 'n'},
                                      {'\r', 'r'},
                                      {'\t', 't'}}) {
    if (set.Has(value)) letters.Add(static_cast<uint8_t>(letter));
  }
  if (!letters.Empty()) options.push_back(exprs_.Concat(exprs_.Byte('\\'), exprs_.Bytes(letters)));
  for (const CodePointSet::Range& range : set.ranges()) {
    for (const auto& [from, to] :
         {std::pair<char32_t, char32_t>{0, 0x1F}, {0x7F, kFirstSurrogate - 1}, {kLastSurrogate + 1, 0xFFFF}}) {
      const char32_t begin = std::max(range.low, from), end = std::min(range.high, to);
      if (begin <= end) options.push_back(UnicodeEscape(exprs_, begin, end));
    }
    if (range.high >= 0x10000) {
      options.push_back(PairEscape(exprs_, std::max<char32_t>(range.low, 0x10000), range.high));
    }
  }
  return exprs_.Alt(std::move(options));
}

ExprId CodePointCoder::Encode(const CodePointSet& set) {
  if (form_ == TextForm::kUtf8) return Utf8(set);
  std::string key(reinterpret_cast<const char*>(set.ranges().data()),
                  set.ranges().size() * sizeof(CodePointSet::Range));
  if (const auto found = made_.find(key); found != made_.end()) return found->second;
  static const CodePointSet kEscapedOnly{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
  const ExprId expr = exprs_.Alt(Utf8(set.Intersect(kEscapedOnly.Complement())), Escapes(set));
  made_.emplace(std::move(key), expr);
  return expr;
}

ExprId CodePointCoder::EncodeText(std::u32string_view text) {
  ExprId expr = kEpsilon;
  for (size_t i = text.size(); i-- > 0;) expr = exprs_.Concat(Encode({{text[i], text[i]}}), expr);
  return expr;
}

}  // namespace lem
