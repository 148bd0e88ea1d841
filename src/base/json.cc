#include "base/json.h"

#include <boost/json/src.hpp>
#include <charconv>
#include <cmath>

namespace lem {
namespace {

// Appends the JSON escape of `text`, replacing each byte that is not part of valid UTF-8 by U+FFFD.
void AppendEscaped(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto is_tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = byte(i);
    if (c < 0x80) {
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\b':
          out += "\\b";
          break;
        case '\f':
          out += "\\f";
          break;
        default:
          if (c < 0x20) {
            out += "\\u00";
            out += kHex[c >> 4];
            out += kHex[c & 15];
          } else {
            out += static_cast<char>(c);
          }
      }
      ++i;
      continue;
    }
    size_t length = 0;
    if (c >= 0xc2 && c <= 0xdf && is_tail(i + 1)) {
      length = 2;
    } else if (c >= 0xe0 && c <= 0xef && is_tail(i + 1) && is_tail(i + 2)) {
      const bool overlong = c == 0xe0 && byte(i + 1) < 0xa0;
      const bool surrogate = c == 0xed && byte(i + 1) >= 0xa0;
      if (!overlong && !surrogate) length = 3;
    } else if (c >= 0xf0 && c <= 0xf4 && is_tail(i + 1) && is_tail(i + 2) && is_tail(i + 3)) {
      const bool overlong = c == 0xf0 && byte(i + 1) < 0x90;
      const bool too_big = c == 0xf4 && byte(i + 1) >= 0x90;
      if (!overlong && !too_big) length = 4;
    }
    if (length == 0) {
      out += "\xef\xbf\xbd";
      ++i;
    } else {
      out.append(text.substr(i, length));
      i += length;
    }
  }
}

}  // namespace

Result<JsonValue> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return InvalidArgument("JSON has {} bytes; at most {} are allowed", text.size(), limits.max_bytes);
  }
  boost::json::parse_options options;
  options.max_depth = limits.max_depth;
  boost::json::parser parser({}, options);
  boost::system::error_code error;
  const size_t consumed = parser.write_some(text.data(), text.size(), error);
  if (!error && consumed < text.size()) {
    return InvalidArgument("invalid JSON at byte {}: text after the end of the document", consumed);
  }
  if (error == boost::json::error::too_deep) {
    return InvalidArgument("JSON is nested deeper than {} levels", limits.max_depth);
  }
  if (error) return InvalidArgument("invalid JSON at byte {}: {}", consumed, error.message());
  return parser.release();
}

void JsonWriter::BeforeValue() {
  if (need_comma_) out_ += ',';
  need_comma_ = true;
}

JsonWriter& JsonWriter::BeginObject() {
  BeforeValue();
  out_ += '{';
  need_comma_ = false;
  return *this;
}
JsonWriter& JsonWriter::EndObject() {
  out_ += '}';
  need_comma_ = true;
  return *this;
}
JsonWriter& JsonWriter::BeginArray() {
  BeforeValue();
  out_ += '[';
  need_comma_ = false;
  return *this;
}
JsonWriter& JsonWriter::EndArray() {
  out_ += ']';
  need_comma_ = true;
  return *this;
}
JsonWriter& JsonWriter::Key(std::string_view key) {
  String(key);
  out_ += ':';
  need_comma_ = false;
  return *this;
}
JsonWriter& JsonWriter::String(std::string_view value) {
  BeforeValue();
  out_ += '"';
  AppendEscaped(out_, value);
  out_ += '"';
  return *this;
}
JsonWriter& JsonWriter::Int(int64_t value) { return Raw(fmt::format_int(value).c_str()); }
JsonWriter& JsonWriter::UInt(uint64_t value) { return Raw(fmt::format_int(value).c_str()); }
template <typename Number>
JsonWriter& JsonWriter::Decimal(Number value) {
  if (!std::isfinite(value)) return Null();
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  std::string_view digits(buffer, static_cast<size_t>(end - buffer));
  Raw(digits);
  if (digits.find_first_of(".e") == std::string_view::npos) out_ += ".0";
  return *this;
}
JsonWriter& JsonWriter::Float(float value) { return Decimal(value); }
JsonWriter& JsonWriter::Double(double value) { return Decimal(value); }
JsonWriter& JsonWriter::Bool(bool value) { return Raw(value ? "true" : "false"); }
JsonWriter& JsonWriter::Null() { return Raw("null"); }

JsonWriter& JsonWriter::Value(const JsonValue& value) {
  // Depth is bounded by the reader's limit, so recursion is safe.
  switch (value.kind()) {
    case boost::json::kind::null:
      return Null();
    case boost::json::kind::bool_:
      return Bool(value.get_bool());
    case boost::json::kind::int64:
      return Int(value.get_int64());
    case boost::json::kind::uint64:
      return UInt(value.get_uint64());
    case boost::json::kind::double_:
      return Double(value.get_double());
    case boost::json::kind::string:
      return String({value.get_string().data(), value.get_string().size()});
    case boost::json::kind::array:
      BeginArray();
      for (const JsonValue& item : value.get_array()) Value(item);
      return EndArray();
    case boost::json::kind::object:
      BeginObject();
      for (const auto& member : value.get_object()) {
        Key({member.key().data(), member.key().size()});
        Value(member.value());
      }
      return EndObject();
  }
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  BeforeValue();
  out_ += json;
  return *this;
}

void JsonWriter::Clear() {
  out_.clear();
  need_comma_ = false;
}

std::string JsonQuote(std::string_view text) {
  std::string out = "\"";
  AppendEscaped(out, text);
  out += '"';
  return out;
}

}  // namespace lem
