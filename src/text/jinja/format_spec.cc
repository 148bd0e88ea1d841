#include "text/jinja/format_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/print.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

Status BadType(const FormatSpec& spec, const Value& value) {
  return InvalidArgument("unknown format code '{}' for object of type '{}'", spec.type, TypeName(value));
}

std::string ToUpperAscii(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return text;
}

// Puts `separator` between groups of three digits before the point.
std::string Group(const std::string& digits, char separator) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % 3 == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

// sign, prefix (0x) and digits, padded to the width.
void AppendNumber(TextBuilder& out, bool negative, std::string_view prefix, const std::string& digits, bool tainted,
                  const FormatSpec& spec) {
  std::string lead = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  lead += prefix;
  const std::string body = spec.grouping != 0 ? Group(digits, spec.grouping) : digits;
  const char align = spec.align != 0 ? spec.align : spec.zero ? '=' : '>';
  const Str fill_str{spec.fill, {}};
  const int64_t missing = spec.width - static_cast<int64_t>(lead.size() + body.size());
  const int64_t left = align == '<' || align == '=' ? 0 : align == '^' ? std::max<int64_t>(missing, 0) / 2 : missing;
  out.AppendTimes(fill_str, left);
  out.Append(lead, tainted);
  if (align == '=') out.AppendTimes(fill_str, missing);
  out.Append(body, tainted);
  if (align == '<' || align == '^') out.AppendTimes(fill_str, missing - left);
}

std::string IntDigits(uint64_t value, int base) {
  std::array<char, 65> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, base);
  return {buffer.data(), end.ptr};
}

Status AppendFloat(TextBuilder& out, const Value& value, const FormatSpec& spec) {
  const double number = AsDouble(value);
  const double magnitude = std::abs(number);
  const int64_t precision = spec.precision >= 0 ? spec.precision : 6;
  const char type = spec.type == 0 ? ' ' : static_cast<char>(spec.type | 0x20);
  std::string digits;
  if (!std::isfinite(number)) {
    digits = std::isnan(number) ? "nan" : "inf";
  } else if (spec.type == '%') {
    digits = fmt::format("{:.{}f}", magnitude * 100, precision);
  } else if (type == 'f') {
    digits =
        spec.alternate ? fmt::format("{:#.{}f}", magnitude, precision) : fmt::format("{:.{}f}", magnitude, precision);
  } else if (type == 'e') {
    digits = fmt::format("{:.{}e}", magnitude, precision);
  } else if (type == 'g' || type == 'n' || spec.precision >= 0) {
    digits = fmt::format("{:.{}g}", magnitude, std::max<int64_t>(precision, 1));
    if (spec.type == 0 && digits.find_first_of(".e") == std::string::npos) digits += ".0";
  } else {
    digits = FloatRepr(magnitude);
  }
  if (spec.type == '%') digits += '%';
  if (spec.type >= 'A' && spec.type <= 'Z') digits = ToUpperAscii(digits);
  AppendNumber(out, std::signbit(number) && !std::isnan(number), "", digits, value.tainted(), spec);
  return OkStatus();
}

Status AppendInt(TextBuilder& out, const Value& value, const FormatSpec& spec) {
  const bool is_big = value.kind() == Kind::kBigInt;
  const bool negative = !is_big && value.as_int() < 0;
  const uint64_t magnitude = is_big     ? value.as_big_int()
                             : negative ? 0 - static_cast<uint64_t>(value.as_int())
                                        : static_cast<uint64_t>(value.as_int());
  std::string digits;
  std::string_view prefix;
  switch (spec.type) {
    case 0:
    case 'd':
    case 'n':
      digits = IntDigits(magnitude, 10);
      break;
    case 'x':
    case 'X':
      digits = IntDigits(magnitude, 16);
      if (spec.alternate) prefix = spec.type == 'x' ? "0x" : "0X";
      if (spec.type == 'X') digits = ToUpperAscii(digits);
      break;
    case 'o':
      digits = IntDigits(magnitude, 8);
      if (spec.alternate) prefix = "0o";
      break;
    case 'b':
      digits = IntDigits(magnitude, 2);
      if (spec.alternate) prefix = "0b";
      break;
    case 'c': {
      if (negative || magnitude > 0x10ffff) return InvalidArgument("%c argument is outside the range of characters");
      AppendChar(digits, static_cast<char32_t>(magnitude));
      out.Append(digits, value.tainted());
      return OkStatus();
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case '%':
      return AppendFloat(out, value, spec);
    default:
      return BadType(spec, value);
  }
  if (spec.precision > static_cast<int64_t>(digits.size())) {
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  }
  AppendNumber(out, negative, prefix, digits, value.tainted(), spec);
  return OkStatus();
}

Status AppendText(TextBuilder& out, const Value& value, const FormatSpec& spec) {
  if (spec.type != 0 && spec.type != 's') return BadType(spec, value);
  const Str& str = ToStr(out.heap(), value);
  const size_t end = spec.precision < 0 ? str.text.size() : CharOffset(str.text, static_cast<size_t>(spec.precision));
  const auto chars = spec.width == 0 ? 0 : static_cast<int64_t>(CountChars(str.text.substr(0, end)));
  const int64_t missing = spec.width - chars;
  const int64_t left = spec.align == '>' ? missing : spec.align == '^' ? std::max<int64_t>(missing, 0) / 2 : 0;
  const Str fill{spec.fill, {}};
  out.AppendTimes(fill, left);
  out.Append(str, 0, end);
  out.AppendTimes(fill, missing - left);
  return OkStatus();
}

}  // namespace

Status AppendFormatted(TextBuilder& out, const Value& value, const FormatSpec& spec) {
  if (spec.width > kMaxFormatWidth || spec.precision > kMaxFormatPrecision) {
    return ResourceExhausted("a format asks for width {} and precision {}; at most {} and {} are allowed", spec.width,
                             spec.precision, kMaxFormatWidth, kMaxFormatPrecision);
  }
  switch (value.kind()) {
    case Kind::kFloat:
      if (spec.type == 0 || std::string_view("eEfFgGn%").find(spec.type) != std::string_view::npos) {
        return AppendFloat(out, value, spec);
      }
      return BadType(spec, value);
    case Kind::kBool:
      if (spec.type == 0) return AppendText(out, value, spec);
      return AppendInt(out, value, spec);
    case Kind::kInt:
    case Kind::kBigInt:
      return AppendInt(out, value, spec);
    default:
      return AppendText(out, value, spec);
  }
}

}  // namespace lem::jinja
