#include "text/jinja/print.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

constexpr int kMinFixedExponent = -4;  // Python writes smaller and larger floats with an exponent
constexpr int kMaxFixedExponent = 16;

void AppendHex(std::string& out, char32_t code, size_t digits) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (size_t i = digits; i-- > 0;) out += kHex[code >> (4 * i) & 15];
}

void ReprString(TextBuilder& out, const Str& str) {
  const bool has_single = str.text.find('\'') != std::string_view::npos;
  const char quote = has_single && str.text.find('"') == std::string_view::npos ? '"' : '\'';
  out.AppendTrusted({&quote, 1});
  TaintCursor taint(str);
  std::string piece;
  for (size_t pos = 0; pos < str.text.size() && !out.heap().exhausted();) {
    const CodePoint c = DecodeAt(str.text, pos);
    const bool tainted = taint.At(pos);
    piece.clear();
    if (c.code == static_cast<unsigned char>(quote) || c.code == '\\') {
      piece = {'\\', static_cast<char>(c.code)};
    } else if (c.code == '\n') {
      piece = "\\n";
    } else if (c.code == '\r') {
      piece = "\\r";
    } else if (c.code == '\t') {
      piece = "\\t";
    } else if (c.code < 0x20 || c.code == 0x7f) {
      piece = "\\x";
      AppendHex(piece, c.code, 2);
    } else if (c.code >= 0x80 && !IsPrintable(c.code)) {
      const size_t digits = c.code < 0x100 ? 2 : c.code < 0x10000 ? 4 : 8;
      piece = digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
      AppendHex(piece, c.code, digits);
    } else {
      piece = str.text.substr(pos, c.size);
    }
    out.Append(piece, tainted);
    pos += c.size;
  }
  out.AppendTrusted({&quote, 1});
}

void ReprAt(TextBuilder& out, const Value& value, int depth);

void ReprItems(TextBuilder& out, std::string_view open, std::span<const Value> items, std::string_view close,
               int depth) {
  out.AppendTrusted(open);
  for (size_t i = 0; i < items.size() && !out.heap().exhausted(); ++i) {
    if (i > 0) out.AppendTrusted(", ");
    ReprAt(out, items[i], depth + 1);
  }
  out.AppendTrusted(close);
}

void ReprDict(TextBuilder& out, const Dict& dict, int depth) {
  out.AppendTrusted("{");
  for (size_t i = 0; i < dict.size && !out.heap().exhausted(); ++i) {
    if (i > 0) out.AppendTrusted(", ");
    ReprAt(out, dict.entries[i].key, depth + 1);
    out.AppendTrusted(": ");
    ReprAt(out, dict.entries[i].value, depth + 1);
  }
  out.AppendTrusted("}");
}

void ReprView(TextBuilder& out, const Value& value, int depth) {
  out.AppendTrusted(TypeName(value));
  ReprItems(out, "([", value.list()->span(), "])", depth);
}

void ReprRange(TextBuilder& out, const Range& range) {
  out.AppendTrusted(range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                                    : fmt::format("range({}, {}, {})", range.start, range.stop, range.step));
}

void ReprAt(TextBuilder& out, const Value& value, int depth) {
  out.heap().Spend(1);
  if (depth > kMaxValueDepth) {
    out.heap().Exhaust(fmt::format("prints a value nested deeper than {} levels", kMaxValueDepth));
    return;
  }
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return out.AppendTrusted("Undefined");
    case Kind::kNone:
      return out.Append("None", value.tainted());
    case Kind::kBool:
      return out.Append(value.as_bool() ? "True" : "False", value.tainted());
    case Kind::kInt:
      return out.Append(fmt::format_int(value.as_int()).c_str(), value.tainted());
    case Kind::kBigInt:
      return out.Append(fmt::format_int(value.as_big_int()).c_str(), value.tainted());
    case Kind::kFloat:
      return out.Append(FloatRepr(value.as_float()), value.tainted());
    case Kind::kString:
      return ReprString(out, value.as_string());
    case Kind::kList:
      return ReprItems(out, "[", value.list()->span(), "]", depth);
    case Kind::kTuple:
      return ReprItems(out, "(", value.list()->span(), value.list()->size == 1 ? ",)" : ")", depth);
    case Kind::kDict:
      return ReprDict(out, *value.dict(), depth);
    case Kind::kRange:
      return ReprRange(out, *value.as<Range>());
    case Kind::kView:
      return ReprView(out, value, depth);
    case Kind::kNamespace:
      out.AppendTrusted("<Namespace ");
      ReprDict(out, *value.dict(), depth);
      return out.AppendTrusted(">");
    default:
      // Python prints an address here, which no template can want.
      return out.AppendTrusted(fmt::format("<{} object>", TypeName(value)));
  }
}

void JsonString(TextBuilder& out, const Str& str, bool ensure_ascii) {
  out.AppendTrusted("\"");
  TaintCursor taint(str);
  std::string piece;
  size_t plain_begin = 0;  // text from here on needs no escape
  for (size_t pos = 0; pos < str.text.size() && !out.heap().exhausted();) {
    const CodePoint c = DecodeAt(str.text, pos);
    piece.clear();
    switch (c.code) {
      case '"':
        piece = "\\\"";
        break;
      case '\\':
        piece = "\\\\";
        break;
      case '\n':
        piece = "\\n";
        break;
      case '\r':
        piece = "\\r";
        break;
      case '\t':
        piece = "\\t";
        break;
      case '\b':
        piece = "\\b";
        break;
      case '\f':
        piece = "\\f";
        break;
      default:
        if (c.code < 0x20 || (ensure_ascii && c.code >= 0x7f && c.code < 0x10000 && c.code != 0x7f)) {
          piece = "\\u";
          AppendHex(piece, c.code, 4);
        } else if (ensure_ascii && c.code >= 0x10000) {
          piece = "\\u";
          AppendHex(piece, 0xd800 + ((c.code - 0x10000) >> 10), 4);
          piece += "\\u";
          AppendHex(piece, 0xdc00 + ((c.code - 0x10000) & 0x3ff), 4);
        }
    }
    if (!piece.empty()) {
      out.Append(str, plain_begin, pos);
      out.Append(piece, taint.At(pos));
      plain_begin = pos + c.size;
    }
    pos += c.size;
  }
  out.Append(str, plain_begin, str.text.size());
  out.AppendTrusted("\"");
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return FloatRepr(value);
}

class JsonPrinter {
 public:
  JsonPrinter(TextBuilder& out, const JsonStyle& style) : out_(out), style_(style) {}

  Status Write(const Value& value, int depth) {
    out_.heap().Spend(1);
    if (depth > kMaxValueDepth) {
      return ResourceExhausted("tojson of a value nested deeper than {} levels", kMaxValueDepth);
    }
    switch (value.kind()) {
      case Kind::kNone:
        out_.Append("null", value.tainted());
        return OkStatus();
      case Kind::kBool:
        out_.Append(value.as_bool() ? "true" : "false", value.tainted());
        return OkStatus();
      case Kind::kFloat:
        out_.Append(JsonFloat(value.as_float()), value.tainted());
        return OkStatus();
      case Kind::kInt:
      case Kind::kBigInt:
        Print(out_, value);
        return OkStatus();
      case Kind::kString:
        JsonString(out_, value.as_string(), style_.ensure_ascii);
        return OkStatus();
      case Kind::kList:
      case Kind::kTuple:
        return WriteList(*value.list(), depth);
      case Kind::kDict:
        return WriteDict(*value.dict(), depth);
      default:
        return InvalidArgument("Object of type {} is not JSON serializable", TypeName(value));
    }
  }

 private:
  void NewLine(int depth) {
    if (!style_.pretty) return;
    out_.AppendTrusted("\n");
    for (int i = 0; i < depth; ++i) out_.AppendTrusted(style_.indent);
  }

  Status WriteList(const List& list, int depth) {
    if (list.size == 0) {
      out_.AppendTrusted("[]");
      return OkStatus();
    }
    out_.AppendTrusted("[");
    for (size_t i = 0; i < list.size && !out_.heap().exhausted(); ++i) {
      if (i > 0) out_.AppendTrusted(style_.item_separator);
      NewLine(depth + 1);
      LEM_TRY(Write(list.items[i], depth + 1));
    }
    NewLine(depth);
    out_.AppendTrusted("]");
    return OkStatus();
  }

  Status WriteDict(const Dict& dict, int depth) {
    if (dict.size == 0) {
      out_.AppendTrusted("{}");
      return OkStatus();
    }
    std::vector<DictEntry> entries(dict.entries, dict.entries + dict.size);
    if (style_.sort_keys) LEM_TRY(SortKeys(entries));
    out_.AppendTrusted("{");
    for (size_t i = 0; i < entries.size() && !out_.heap().exhausted(); ++i) {
      if (i > 0) out_.AppendTrusted(style_.item_separator);
      NewLine(depth + 1);
      LEM_TRY(WriteKey(entries[i].key, depth));
      out_.AppendTrusted(style_.key_separator);
      LEM_TRY(Write(entries[i].value, depth + 1));
    }
    NewLine(depth);
    out_.AppendTrusted("}");
    return OkStatus();
  }

  Status WriteKey(const Value& key, int depth) {
    if (key.is_string()) return Write(key, depth + 1);
    if (!key.is_number() && !key.is_none()) {
      return InvalidArgument("keys must be str, int, float, bool or None, not {}", TypeName(key));
    }
    out_.AppendTrusted("\"");
    LEM_TRY(Write(key, depth + 1));
    out_.AppendTrusted("\"");
    return OkStatus();
  }

  Status SortKeys(std::vector<DictEntry>& entries) {
    for (const DictEntry& entry : entries) {
      if (!entry.key.is_string()) return InvalidArgument("tojson sorts only dicts whose keys are strings");
    }
    std::ranges::sort(entries, {}, [](const DictEntry& entry) { return entry.key.text(); });
    return OkStatus();
  }

  TextBuilder& out_;
  const JsonStyle& style_;
};

}  // namespace

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific);
  const std::string_view shortest(buffer.data(), static_cast<size_t>(end.ptr - buffer.data()));
  const size_t e = shortest.find('e');
  int exponent = 0;
  const size_t digits_at = shortest[e + 1] == '+' ? e + 2 : e + 1;
  std::from_chars(shortest.data() + digits_at, shortest.data() + shortest.size(), exponent);
  if (exponent < kMinFixedExponent || exponent >= kMaxFixedExponent) return std::string(shortest);
  const auto fixed = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  std::string out(buffer.data(), fixed.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

void Print(TextBuilder& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return;
    case Kind::kString:
      return out.Append(value.as_string());
    default:
      return ReprAt(out, value, 0);
  }
}

void Repr(TextBuilder& out, const Value& value) { ReprAt(out, value, 0); }

const Str& ToStr(Heap& heap, const Value& value) {
  if (value.is_string()) return value.as_string();
  TextBuilder out(heap);
  Print(out, value);
  return out.Finish().as_string();
}

Status PrintJson(TextBuilder& out, const Value& value, const JsonStyle& style) {
  return JsonPrinter(out, style).Write(value, 0);
}

}  // namespace lem::jinja
