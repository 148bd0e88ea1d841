// Numbers of schemas: exact decimals, their bounds as expressions.
#include <algorithm>

#include "grammar/schema.h"

namespace lem {
namespace {

constexpr size_t kMaxDigits = 400;  // doubles have up to 309 before the point, 324 zeros behind it

int CompareMagnitudes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int order = a.whole.compare(b.whole); order != 0) return order;
  return a.fraction.compare(b.fraction);  // no zeros at the end: a prefix is less
}

bool IsZero(const Number& number) { return number.magnitude == Decimal{}; }

std::string TextOf(const Number& number) {
  std::string text = (number.negative ? "-" : "") + number.magnitude.whole;
  if (!number.magnitude.fraction.empty()) text += "." + number.magnitude.fraction;
  return text;
}

}  // namespace

int Compare(const Number& a, const Number& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const int order = CompareMagnitudes(a.magnitude, b.magnitude);
  return a.negative ? -order : order;
}

std::optional<Number> ParseNumber(std::string_view text) {
  Number number;
  number.negative = text.starts_with('-');
  if (number.negative) text.remove_prefix(1);
  std::string digits;
  int64_t point = -1, exponent = 0;
  size_t i = 0;
  for (; i < text.size() && (text[i] == '.' || (text[i] >= '0' && text[i] <= '9')); ++i) {
    if (text[i] == '.') {
      point = static_cast<int64_t>(digits.size());
    } else {
      digits.push_back(text[i]);
    }
  }
  if (digits.empty() || digits.size() > kMaxDigits) return std::nullopt;
  if (point < 0) point = static_cast<int64_t>(digits.size());
  if (i < text.size()) {
    bool down = false;
    for (++i; i < text.size(); ++i) {
      if (text[i] == '-') down = true;
      if (text[i] < '0' || text[i] > '9') continue;
      exponent = std::min<int64_t>(exponent * 10 + (text[i] - '0'), 10'000);
    }
    if (down) exponent = -exponent;
  }
  point += exponent;
  if (point > static_cast<int64_t>(kMaxDigits) || point < -static_cast<int64_t>(kMaxDigits)) return std::nullopt;
  if (point < 0) {
    digits.insert(0, static_cast<size_t>(-point), '0');
    point = 0;
  }
  if (point > static_cast<int64_t>(digits.size())) digits.append(static_cast<size_t>(point) - digits.size(), '0');
  std::string whole = digits.substr(0, static_cast<size_t>(point)),
              fraction = digits.substr(static_cast<size_t>(point));
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  fraction.erase(fraction.find_last_not_of('0') + 1);
  number.magnitude = {whole.empty() ? "0" : whole, fraction};
  if (IsZero(number)) number.negative = false;
  return number;
}

std::optional<Number> NumberOf(const JsonValue& value) {
  if (value.is_int64()) return ParseNumber(fmt::format("{}", value.get_int64()));
  if (value.is_uint64()) return ParseNumber(fmt::format("{}", value.get_uint64()));
  if (value.is_double()) return ParseNumber(fmt::format("{}", value.get_double()));
  return std::nullopt;
}

void NumberSchema::RaiseMin(const Number& value, bool exclusive) {
  const int order = min ? Compare(value, *min) : 1;
  if (order < 0) return;
  min_exclusive = order == 0 ? min_exclusive || exclusive : exclusive;
  min = value;
}

void NumberSchema::LowerMax(const Number& value, bool exclusive) {
  const int order = max ? Compare(value, *max) : -1;
  if (order > 0) return;
  max_exclusive = order == 0 ? max_exclusive || exclusive : exclusive;
  max = value;
}

Result<ExprId> WriteNumber(GrammarBuilder& builder, const NumberSchema& number) {
  ExprSet& exprs = builder.exprs();
  using Comparison = ExprSet::Comparison;
  const ExprId digit = exprs.Bytes(ByteSet::Range('0', '9'));
  const ExprId whole =
      exprs.Alt(exprs.Byte('0'), exprs.Concat(exprs.Bytes(ByteSet::Range('1', '9')), exprs.Repeat(digit, 0, kNoMax)));
  const ExprId fraction = exprs.Concat(exprs.Byte('.'), exprs.Repeat(digit, 1, kNoMax));
  if (!number.min && !number.max && number.multiples.empty()) {
    if (!number.integer) return builder.JsonNumber();
    return builder.AsRule(exprs.Concat(exprs.Optional(exprs.Byte('-')), whole));
  }
  const ExprId plain = number.integer ? whole : exprs.Concat(whole, exprs.Optional(fraction));
  std::vector<ExprId> multiples;
  for (const NumberSchema::Multiple& multiple : number.multiples) {
    multiples.push_back(exprs.MultipleOf(multiple.multiple, multiple.fraction_digits));
  }
  if (number.min && number.max && Compare(*number.min, *number.max) == 0) {
    // One value: as it is written, and with ".0" where that is the same. All its spellings would be endless.
    if (number.min_exclusive || number.max_exclusive) return kEmpty;
    const Number& value = *number.min;
    if (number.integer && !value.magnitude.fraction.empty()) return kEmpty;
    std::string digits = TextOf({false, value.magnitude});
    for (const ExprId multiple : multiples) {
      if (!exprs.Matches(multiple, digits)) return kEmpty;
    }
    ExprId text = exprs.Literal(TextOf(value));
    if (!number.integer && value.magnitude.fraction.empty())
      text = exprs.Concat(text, exprs.Optional(exprs.Literal(".0")));
    return text;
  }
  const Number zero;
  // Magnitudes on one side of zero: at least `low`, at most `high`.
  const auto side = [&](const std::optional<Number>& low, bool low_exclusive, const std::optional<Number>& high,
                        bool high_exclusive) {
    std::vector<ExprId> parts = multiples;
    if (low && (low_exclusive || !IsZero(*low))) {
      parts.push_back(exprs.Compared(low_exclusive ? Comparison::kGreater : Comparison::kAtLeast, low->magnitude));
    }
    if (high)
      parts.push_back(exprs.Compared(high_exclusive ? Comparison::kLess : Comparison::kAtMost, high->magnitude));
    if (parts.empty()) {
      if (number.integer) return plain;
      ByteSet e = ByteSet::Of('e'), sign = ByteSet::Of('+');
      e.Add('E');
      sign.Add('-');
      return exprs.Concat(plain, exprs.Optional(exprs.Concat({exprs.Bytes(e), exprs.Optional(exprs.Bytes(sign)),
                                                              exprs.Repeat(digit, 1, kNoMax)})));
    }
    parts.push_back(plain);
    return exprs.And(std::move(parts));
  };
  ExprId positive = kEmpty, negative = kEmpty;
  if (!number.max || Compare(*number.max, zero) > 0 || (Compare(*number.max, zero) == 0 && !number.max_exclusive)) {
    const bool above = number.min && Compare(*number.min, zero) >= 0;
    positive = side(above ? number.min : std::nullopt, number.min_exclusive, number.max, number.max_exclusive);
  }
  if (!number.min || Compare(*number.min, zero) < 0) {
    const bool below = number.max && Compare(*number.max, zero) <= 0;
    negative = side(below ? number.max : std::nullopt, number.max_exclusive, number.min, number.min_exclusive);
  }
  LEM_TRY(builder.CheckLimits());
  if (!exprs.Alive(positive)) positive = kEmpty;
  if (!exprs.Alive(negative)) negative = kEmpty;
  LEM_TRY(builder.CheckLimits());
  return builder.AsRule(exprs.Alt(positive, exprs.Concat(exprs.Byte('-'), negative)));
}

}  // namespace lem
