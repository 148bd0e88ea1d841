// str.format: "{} {0} {name.attribute[key]!r:>10}".format(...).
#include <charconv>

#include "text/jinja/format_spec.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

constexpr int kMaxNesting = 2;  // a field, and fields in its format specification, as in Python

class BraceFormatter {
 public:
  BraceFormatter(Interpreter& interpreter, const Str& format, const Arguments& args)
      : interpreter_(interpreter), format_(format), args_(args) {}

  Result<Value> Run() { return Format(format_, 1); }

 private:
  Heap& heap() { return interpreter_.heap(); }

  Result<Value> Format(const Str& format, int nesting) {
    if (nesting > kMaxNesting) return InvalidArgument("format: fields are nested too deep");
    TextBuilder out(heap());
    const std::string_view text = format.text;
    for (size_t pos = 0; pos < text.size() && !heap().exhausted();) {
      const size_t brace = std::min(text.find_first_of("{}", pos), text.size());
      out.Append(format, pos, brace);
      pos = brace;
      if (pos == text.size()) break;
      if (pos + 1 < text.size() && text[pos + 1] == text[pos]) {
        out.Append(format, pos, pos + 1);
        pos += 2;
        continue;
      }
      if (text[pos] == '}') return InvalidArgument("single '}}' encountered in format string");
      LEM_ASSIGN_OR_RETURN(const size_t end, FieldEnd(text, pos + 1));
      LEM_TRY(Field(out, *Slice(heap(), format, pos + 1, end), nesting));
      pos = end + 1;
    }
    return out.Finish();
  }

  // Position of the brace that closes the field which begins here.
  static Result<size_t> FieldEnd(std::string_view text, size_t pos) {
    for (int open = 1; pos < text.size(); ++pos) {
      if (text[pos] == '{') ++open;
      if (text[pos] == '}' && --open == 0) return pos;
    }
    return InvalidArgument("expected '}}' before end of string");
  }

  Status Field(TextBuilder& out, const Str& field, int nesting) {
    // Brackets of an index may hold any character, so the name ends at the first ! or : outside them.
    size_t name_end = 0;
    for (bool in_brackets = false; name_end < field.text.size(); ++name_end) {
      const char c = field.text[name_end];
      if (c == '[') in_brackets = true;
      if (c == ']') in_brackets = false;
      if (!in_brackets && (c == '!' || c == ':')) break;
    }
    LEM_ASSIGN_OR_RETURN(Value value, FieldValue(field.text.substr(0, name_end)));
    size_t pos = name_end;
    if (pos < field.text.size() && field.text[pos] == '!') {
      const char conversion = pos + 1 < field.text.size() ? field.text[pos + 1] : '\0';
      if (conversion != 'r' && conversion != 's' && conversion != 'a') {
        return InvalidArgument("unknown conversion specifier '{}'", conversion);
      }
      pos += 2;
      TextBuilder text(heap());
      conversion == 's' ? Print(text, value) : Repr(text, value);
      value = text.Finish();
      if (pos < field.text.size() && field.text[pos] != ':') {
        return InvalidArgument("expected ':' after conversion specifier");
      }
    }
    FormatSpec spec;
    if (pos < field.text.size()) {
      LEM_ASSIGN_OR_RETURN(const Value text, Format(*Slice(heap(), field, pos + 1, field.text.size()), nesting + 1));
      LEM_ASSIGN_OR_RETURN(spec, ParseSpec(text.text()));
      const bool plain = value.is_string() || value.is_number();
      if (!plain && !text.text().empty()) {
        return InvalidArgument("unsupported format string passed to {}.__format__", TypeName(value));
      }
    }
    return AppendFormatted(out, value, spec);
  }

  // name or index, then .attribute and [key] parts.
  Result<Value> FieldValue(std::string_view name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    LEM_ASSIGN_OR_RETURN(Value value, Argument(name.substr(0, first_end)));
    for (size_t pos = first_end; pos < name.size();) {
      const bool is_key = name[pos] == '[';
      const size_t end = std::min(is_key ? name.find(']', pos) : name.find_first_of(".[", pos + 1), name.size());
      if (is_key && end == name.size()) return InvalidArgument("missing ']' in format string");
      const std::string_view part = name.substr(pos + 1, end - pos - 1);
      if (part.empty()) return InvalidArgument("empty attribute in format string");
      const Value key = Value::String(TrustedStr(heap(), part));
      int64_t index = 0;
      const bool is_index =
          is_key && std::from_chars(part.data(), part.data() + part.size(), index).ptr == part.data() + part.size();
      LEM_ASSIGN_OR_RETURN(value, is_key ? interpreter_.GetElement(value, is_index ? Value::Int(index) : key)
                                         : interpreter_.GetAttribute(value, key));
      pos = is_key ? end + 1 : end;
    }
    return value;
  }

  Result<Value> Argument(std::string_view name) {
    size_t index = 0;
    if (name.empty()) {
      index = next_arg_++;
    } else {
      const auto parsed = std::from_chars(name.data(), name.data() + name.size(), index);
      if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) {
        for (const NamedArgument& named : args_.named) {
          if (named.name.text() == name) return named.value;
        }
        return InvalidArgument("format: there is no argument '{}'", name);
      }
    }
    if (index < args_.positional.size()) return args_.positional[index];
    return InvalidArgument("replacement index {} out of range for positional args tuple", index);
  }

  static Result<FormatSpec> ParseSpec(std::string_view text) {
    FormatSpec spec;
    size_t pos = 0;
    const auto peek = [&](size_t at) { return at < text.size() ? text[at] : '\0'; };
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    const size_t fill_size = text.empty() ? 0 : DecodeAt(text, 0).size;
    const bool has_fill = fill_size > 0 && is_align(peek(fill_size));
    if (has_fill) {
      spec.fill = text.substr(0, fill_size);
      spec.align = text[fill_size];
      pos = fill_size + 1;
    } else if (is_align(peek(0))) {
      spec.align = text[pos++];
    }
    if (peek(pos) == '+' || peek(pos) == '-' || peek(pos) == ' ') spec.sign = text[pos++];
    if (peek(pos) == '#') {
      spec.alternate = true;
      ++pos;
    }
    if (peek(pos) == '0') {
      spec.zero = true;
      if (!has_fill) spec.fill = "0";
      ++pos;
    }
    const auto number = [&](int64_t fallback) {
      if (peek(pos) < '0' || peek(pos) > '9') return fallback;
      int64_t value = 0;
      for (; peek(pos) >= '0' && peek(pos) <= '9'; ++pos) {
        value = std::min<int64_t>(value * 10 + (peek(pos) - '0'), INT32_MAX);
      }
      return value;
    };
    spec.width = number(0);
    if (peek(pos) == ',' || peek(pos) == '_') spec.grouping = text[pos++];
    if (peek(pos) == '.') {
      ++pos;
      spec.precision = number(-1);
      if (spec.precision < 0) return InvalidArgument("format specifier missing precision");
    }
    if (pos < text.size()) spec.type = text[pos++];
    if (pos != text.size()) return InvalidArgument("invalid format specifier '{}'", text);
    return spec;
  }

  Interpreter& interpreter_;
  const Str& format_;
  const Arguments& args_;
  size_t next_arg_ = 0;
};

}  // namespace

Result<Value> FormatBraces(Interpreter& interpreter, const Str& format, const Arguments& args) {
  return BraceFormatter(interpreter, format, args).Run();
}

}  // namespace lem::jinja
