// Filters that make text: case, trim, replace, indent, escape, tojson, ...
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/html.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/string_ops.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

const Str kSpace{" ", {}};

// A filter without arguments from a function on strings.
template <Value (*function)(Heap&, const Str&)>
Result<Value> OnText(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("filter", args));
  return function(in.heap(), ToStr(in.heap(), self));
}

Result<Value> FilterString(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("string", args));
  return Value::String(&ToStr(in.heap(), self));
}

Result<Value> FilterTrim(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("trim", args, {"chars"})));
  const Str* chars = nullptr;
  if (!bound[0].is_missing() && !bound[0].is_none()) {
    LEM_ASSIGN_OR_RETURN(chars, TakeString(bound[0], "trim(chars)"));
  }
  return Strip(in.heap(), ToStr(in.heap(), self), chars, Side::kBoth);
}

Result<Value> FilterReplace(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("replace", args, {"old", "new", "count"}, 2)));
  LEM_ASSIGN_OR_RETURN(const int64_t count, TakeIntOr(bound[2], -1, "replace(count)"));
  Heap& heap = in.heap();
  return Replace(heap, ToStr(heap, self), ToStr(heap, bound[0]), ToStr(heap, bound[1]), count);
}

Result<Value> FilterCenter(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("center", args, {"width"})));
  LEM_ASSIGN_OR_RETURN(const int64_t width, TakeIntOr(bound[0], 80, "center(width)"));
  return Pad(in.heap(), ToStr(in.heap(), self), width, kSpace, Side::kBoth);
}

Result<Value> FilterIndent(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("indent", args, {"width", "first", "blank"})));
  LEM_ASSIGN_OR_RETURN(const Str* text, TakeString(self, "the text that 'indent' gets"));
  Heap& heap = in.heap();
  Value indention = bound[0];
  if (!indention.is_string()) {
    LEM_ASSIGN_OR_RETURN(const int64_t width, TakeIntOr(indention, 4, "indent(width)"));
    TextBuilder spaces(heap);
    spaces.AppendTimes(kSpace, width);
    indention = spaces.Finish();
  }
  const bool first = TakeBoolOr(bound[1], false);
  const bool blank = TakeBoolOr(bound[2], false);
  // The newline at the end keeps a last empty line: splitting alone would drop it.
  TextBuilder with_newline(heap);
  with_newline.Append(*text);
  with_newline.AppendTrusted("\n");
  const Value whole = with_newline.Finish();
  const List* lines = SplitLines(heap, whole.as_string(), false);
  TextBuilder out(heap);
  for (size_t i = 0; i < lines->size; ++i) {
    const Str& line = lines->items[i].as_string();
    if (i > 0) out.AppendTrusted("\n");
    if (i == 0 ? first : blank || !line.text.empty()) out.Append(indention.as_string());
    out.Append(line);
  }
  return out.Finish();
}

Result<Value> FilterTruncate(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<4>("truncate", args, {"length", "killwords", "end", "leeway"})));
  LEM_ASSIGN_OR_RETURN(const Str* text, TakeString(self, "the text that 'truncate' gets"));
  Heap& heap = in.heap();
  LEM_ASSIGN_OR_RETURN(const int64_t length, TakeIntOr(bound[0], 255, "truncate(length)"));
  const Value end = bound[2].is_missing() ? MakeString(heap, "...") : bound[2];
  LEM_ASSIGN_OR_RETURN(const Str* end_text, TakeString(end, "truncate(end)"));
  LEM_ASSIGN_OR_RETURN(const int64_t leeway, TakeIntOr(bound[3], 5, "truncate(leeway)"));
  const auto end_chars = static_cast<int64_t>(CountChars(end_text->text));
  if (length < end_chars || leeway < 0) {
    return InvalidArgument("truncate: length {} must be at least {}, the length of its end, and leeway {} at least 0",
                           length, end_chars, leeway);
  }
  heap.SpendBytes(text->text.size());
  // No sum here may wrap: a text has far fewer than 2^62 characters.
  const auto chars = static_cast<int64_t>(CountChars(text->text));
  if (chars <= length || chars - length <= leeway) return self;
  size_t keep = CharOffset(text->text, static_cast<size_t>(length - end_chars));
  if (!TakeBoolOr(bound[1], false)) {
    const size_t space = text->text.substr(0, keep).rfind(' ');
    if (space != std::string_view::npos) keep = space;
  }
  TextBuilder out(heap);
  out.Append(*text, 0, keep);
  out.Append(*end_text);
  return out.Finish();
}

Result<Value> FilterWordCount(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("wordcount", args));
  const std::string_view text = ToStr(in.heap(), self).text;
  in.heap().SpendBytes(text.size());
  int64_t count = 0;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = DecodeAt(text, pos);
    const bool is_word = IsWordChar(c.code);
    count += is_word && !in_word ? 1 : 0;
    in_word = is_word;
    pos += c.size;
  }
  return Value::Int(count);
}

Result<Value> FilterEscape(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("escape", args));
  const Str& text = ToStr(in.heap(), self);
  if (text.markup) return Value::String(&text);
  TextBuilder out(in.heap());
  AppendEscapedHtml(out, text);
  return MarkAsMarkup(in.heap(), out.Finish());
}

Result<Value> FilterForceEscape(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("forceescape", args));
  TextBuilder out(in.heap());
  AppendEscapedHtml(out, ToStr(in.heap(), self));
  return MarkAsMarkup(in.heap(), out.Finish());
}

Result<Value> FilterSafe(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("safe", args));
  return MarkAsMarkup(in.heap(), Value::String(&ToStr(in.heap(), self)));
}

enum class UrlPart : uint8_t { kPath, kQuery };

void AppendUrlQuoted(TextBuilder& out, const Str& str, UrlPart part) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  TaintCursor taint(str);
  for (size_t pos = 0; pos < str.text.size() && !out.heap().exhausted(); ++pos) {
    const char c = str.text[pos];
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
                       c == '.' || c == '-' || c == '~' || (c == '/' && part == UrlPart::kPath);
    const bool tainted = taint.At(pos);
    if (plain) {
      out.Append({&c, 1}, tainted);
    } else if (c == ' ' && part == UrlPart::kQuery) {
      out.Append("+", tainted);
    } else {
      const char escape[] = {'%', kHex[byte >> 4], kHex[byte & 15]};
      out.Append({escape, 3}, tainted);
    }
  }
}

Result<Value> FilterUrlEncode(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("urlencode", args));
  Heap& heap = in.heap();
  TextBuilder out(heap);
  const auto append_pair = [&](const Value& key, const Value& value) {
    if (out.size() > 0) out.AppendTrusted("&");
    AppendUrlQuoted(out, ToStr(heap, key), UrlPart::kQuery);
    out.AppendTrusted("=");
    AppendUrlQuoted(out, ToStr(heap, value), UrlPart::kQuery);
  };
  if (self.kind() == Kind::kDict) {
    for (const DictEntry& entry : self.dict()->span()) append_pair(entry.key, entry.value);
    return out.Finish();
  }
  if (!self.is_list_or_tuple()) {
    AppendUrlQuoted(out, ToStr(heap, self), UrlPart::kPath);
    return out.Finish();
  }
  for (const Value& pair : self.list()->span()) {
    LEM_ASSIGN_OR_RETURN(const List* parts, Items(heap, pair));
    if (parts->size != 2) return InvalidArgument("urlencode needs pairs of a key and a value");
    append_pair(parts->items[0], parts->items[1]);
  }
  return out.Finish();
}

Result<Value> FilterFormat(Interpreter& in, const Value& self, const Arguments& args) {
  Heap& heap = in.heap();
  const Str& format = ToStr(heap, self);
  if (args.named.empty()) return FormatPercent(heap, format, MakeTuple(heap, args.positional));
  if (!args.positional.empty()) {
    return InvalidArgument("format: positional and keyword arguments cannot be mixed");
  }
  auto* values = heap.New<Dict>();
  for (const NamedArgument& named : args.named) values->Push(heap, named.name, named.value);
  return FormatPercent(heap, format, Value::Of(Kind::kDict, values));
}

Result<Value> FilterToJson(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound,
                       (Bind<4>("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"})));
  JsonStyle style;
  style.ensure_ascii = TakeBoolOr(bound[0], false);
  style.sort_keys = TakeBoolOr(bound[3], false);
  if (bound[1].is_string()) {
    style.pretty = true;
    style.indent = bound[1].text();
  } else if (!bound[1].is_missing() && !bound[1].is_none()) {
    LEM_ASSIGN_OR_RETURN(const int64_t width, TakeInt(bound[1], "tojson(indent)"));
    constexpr int64_t kMaxIndent = 1000;
    if (width > kMaxIndent) return ResourceExhausted("tojson(indent) is {}; at most {} is allowed", width, kMaxIndent);
    style.pretty = true;
    style.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  if (style.pretty) style.item_separator = ",";
  if (!bound[2].is_missing() && !bound[2].is_none()) {
    if (!bound[2].is_list_or_tuple() || bound[2].list()->size != 2) {
      return InvalidArgument("tojson(separators) must be a pair of strings");
    }
    LEM_ASSIGN_OR_RETURN(const Str* item, TakeString(bound[2].list()->items[0], "tojson(separators)"));
    LEM_ASSIGN_OR_RETURN(const Str* key, TakeString(bound[2].list()->items[1], "tojson(separators)"));
    style.item_separator = item->text;
    style.key_separator = key->text;
  }
  TextBuilder out(in.heap());
  LEM_TRY(PrintJson(out, self, style));
  return out.Finish();
}

}  // namespace

std::span<const BuiltinEntry> TextFilters() {
  static constexpr BuiltinEntry kTable[] = {
      {"capitalize", OnText<Capitalize>},
      {"center", FilterCenter},
      {"e", FilterEscape},
      {"escape", FilterEscape},
      {"forceescape", FilterForceEscape},
      {"format", FilterFormat},
      {"indent", FilterIndent},
      {"lower", OnText<Lower>},
      {"replace", FilterReplace},
      {"safe", FilterSafe},
      {"string", FilterString},
      {"title", OnText<TitleWords>},
      {"tojson", FilterToJson},
      {"trim", FilterTrim},
      {"truncate", FilterTruncate},
      {"upper", OnText<Upper>},
      {"urlencode", FilterUrlEncode},
      {"wordcount", FilterWordCount},
  };
  return kTable;
}

}  // namespace lem::jinja
