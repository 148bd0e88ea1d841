// Filters that make or change numbers, and the parsing of numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/number_parse.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

std::string_view TrimSpace(std::string_view text) {
  while (!text.empty()) {
    const CodePoint c = DecodeAt(text, 0);
    if (!IsSpace(c.code)) break;
    text.remove_prefix(c.size);
  }
  while (!text.empty()) {
    const size_t last = PreviousChar(text, text.size());
    if (!IsSpace(DecodeAt(text, last).code)) break;
    text = text.substr(0, last);
  }
  return text;
}

// The text without underscores that stand between two digits; nullopt if one stands elsewhere.
std::optional<std::string> DropUnderscores(std::string_view text) {
  const auto is_digit = [&](size_t i) { return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])); };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

// Truncates towards zero. Errors: InvalidArgument if it does not fit 64 bits.
Result<Value> IntOfFloat(double value) {
  if (std::isinf(value)) return InvalidArgument("cannot convert float infinity to integer");
  if (std::abs(value) >= 0x1p63) return InvalidArgument("the float {} does not fit a 64-bit integer", value);
  return Value::Int(static_cast<int64_t>(value));
}

Result<Value> FilterInt(Interpreter&, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("int", args, {"default", "base"})));
  const Value fallback = bound[0].is_missing() ? Value::Int(0) : bound[0];
  LEM_ASSIGN_OR_RETURN(const int64_t base, TakeIntOr(bound[1], 10, "int(base)"));
  switch (self.kind()) {
    case Kind::kUndefined:
      return InvalidArgument("{}", UndefinedMessage(self));
    case Kind::kBool:
    case Kind::kInt:
      return Value::Int(self.as_int()).WithTaint(self.tainted());
    case Kind::kBigInt:
      return self;
    case Kind::kFloat:
      return std::isnan(self.as_float()) ? fallback : IntOfFloat(self.as_float());
    case Kind::kString: {
      if (base == 0 || (base >= 2 && base <= 36)) {
        LEM_ASSIGN_OR_RETURN(const std::optional<int64_t> whole, ParseInteger(self.text(), static_cast<int>(base)));
        if (whole) return Value::Int(*whole);
      }
      const std::optional<double> number = ParseFloat(self.text());
      return number && std::isfinite(*number) ? IntOfFloat(*number) : fallback;
    }
    default:
      return fallback;
  }
}

Result<Value> FilterFloat(Interpreter&, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("float", args, {"default"})));
  if (self.is_undefined()) return InvalidArgument("{}", UndefinedMessage(self));
  if (self.is_number()) return Value::Float(AsDouble(self)).WithTaint(self.tainted());
  if (self.is_string()) {
    if (const std::optional<double> number = ParseFloat(self.text())) return Value::Float(*number);
  }
  return bound[0].is_missing() ? Value::Float(0) : bound[0];
}

Result<Value> FilterAbs(Interpreter&, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("abs", args));
  if (self.is_undefined()) return InvalidArgument("{}", UndefinedMessage(self));
  if (!self.is_number()) return InvalidArgument("bad operand type for abs(): '{}'", TypeName(self));
  if (self.kind() == Kind::kBigInt) return self;
  if (self.kind() == Kind::kFloat) return Value::Float(std::abs(self.as_float())).WithTaint(self.tainted());
  return self.as_int() < 0 ? Negate(self) : Value::Int(self.as_int()).WithTaint(self.tainted());
}

// Half to even at the decimal digit, as round() of Python: through the exact decimal expansion.
double RoundFloat(double value, int64_t precision) {
  constexpr int64_t kMaxPrecision = 22;  // beyond, a double has no digit to round
  constexpr int64_t kMinPrecision = -308;
  if (!std::isfinite(value) || precision > kMaxPrecision + 300) return value;
  if (precision < kMinPrecision) return std::copysign(0.0, value);
  if (precision >= 0) return std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr);
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / unit) * unit;
}

// round(n, -k) of an integer: to a multiple of 10^k, half to even.
Value RoundInt(int64_t value, int64_t precision) {
  if (precision >= 0) return Value::Int(value);
  if (precision < -18) return Value::Int(0);
  int64_t unit = 1;
  for (int64_t i = 0; i < -precision; ++i) unit *= 10;
  const int64_t rest = value % unit;
  int64_t base = value - rest;
  const int64_t twice = 2 * std::abs(rest);
  const bool odd = (base / unit) % 2 != 0;
  if (twice > unit || (twice == unit && odd)) {
    if (__builtin_add_overflow(base, rest < 0 ? -unit : unit, &base)) return Value::Int(value - rest);
  }
  return Value::Int(base);
}

Result<Value> FilterRound(Interpreter&, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("round", args, {"precision", "method"})));
  if (self.is_undefined()) return InvalidArgument("{}", UndefinedMessage(self));
  if (!self.is_number() || self.kind() == Kind::kBigInt) {
    return InvalidArgument("type {} doesn't define a way to round it", TypeName(self));
  }
  LEM_ASSIGN_OR_RETURN(const int64_t precision, TakeIntOr(bound[0], 0, "round(precision)"));
  std::string_view method = "common";
  if (!bound[1].is_missing()) {
    LEM_ASSIGN_OR_RETURN(const Str* text, TakeString(bound[1], "round(method)"));
    method = text->text;
  }
  if (method == "common") {
    if (self.is_integral()) return RoundInt(self.as_int(), precision).WithTaint(self.tainted());
    return Value::Float(RoundFloat(self.as_float(), precision)).WithTaint(self.tainted());
  }
  if (method != "ceil" && method != "floor") {
    return InvalidArgument("round(method) is '{}'; allowed: common, ceil, floor", method);
  }
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = AsDouble(self) * unit;
  if (!std::isfinite(scaled) || unit == 0) return InvalidArgument("round(precision) of {} is out of range", precision);
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit).WithTaint(self.tainted());
}

}  // namespace

Result<std::optional<int64_t>> ParseInteger(std::string_view text, int base) {
  text = TrimSpace(text);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.size() > 2 && text[0] == '0') {
    const char prefix = static_cast<char>(text[1] | 0x20);
    const int prefix_base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (prefix_base != 0 && (base == 0 || base == prefix_base)) {
      text.remove_prefix(text[2] == '_' ? 3 : 2);
      base = prefix_base;
    }
  }
  if (base == 0) base = 10;
  const std::optional<std::string> digits = DropUnderscores(text);
  if (!digits || digits->empty() || (*digits)[0] == '-') return std::optional<int64_t>();
  const std::string signed_digits = negative ? "-" + *digits : *digits;
  int64_t value = 0;
  const char* end = signed_digits.data() + signed_digits.size();
  const auto parsed = std::from_chars(signed_digits.data(), end, value, base);
  if (parsed.ptr != end) return std::optional<int64_t>();
  if (parsed.ec == std::errc::result_out_of_range) {
    return InvalidArgument("the integer {} does not fit 64 bits", signed_digits.substr(0, 40));
  }
  return std::optional<int64_t>(value);
}

std::optional<double> ParseFloat(std::string_view text) {
  const std::optional<std::string> cleaned = DropUnderscores(TrimSpace(text));
  if (!cleaned) return std::nullopt;
  std::string_view number = *cleaned;
  const bool negative = number.starts_with('-');
  if (negative || number.starts_with('+')) number.remove_prefix(1);
  if (number.empty() || number[0] == '-') return std::nullopt;
  double value = 0;
  const char* begin = number.data();
  const char* end = begin + number.size();
  const auto parsed = std::from_chars(begin, end, value, std::chars_format::general);
  // from_chars reads "nan(x)" too, which is no float in Python.
  if (parsed.ptr != end || number.find('(') != std::string_view::npos) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) value = std::strtod(std::string(number).c_str(), nullptr);
  return negative ? -value : value;
}

std::span<const BuiltinEntry> NumberFilters() {
  static constexpr BuiltinEntry kTable[] = {
      {"abs", FilterAbs},
      {"float", FilterFloat},
      {"int", FilterInt},
      {"round", FilterRound},
  };
  return kTable;
}

}  // namespace lem::jinja
