// Methods of str that return text, lists or positions.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/string_ops.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

const Str kSpace{" ", {}};
const Str kZero{"0", {}};

template <Value (*function)(Heap&, const Str&)>
Result<Value> Plain(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("method", args));
  return function(in.heap(), self.as_string());
}

template <Side side>
Result<Value> MethodStrip(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("strip", args, {"chars"})));
  const Str* chars = nullptr;
  if (!bound[0].is_missing() && !bound[0].is_none()) {
    LEM_ASSIGN_OR_RETURN(chars, TakeString(bound[0], "strip(chars)"));
  }
  return Strip(in.heap(), self.as_string(), chars, side);
}

Result<Value> MethodReplace(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("replace", args, {"old", "new", "count"}, 2)));
  LEM_ASSIGN_OR_RETURN(const Str* old_text, TakeString(bound[0], "replace(old)"));
  LEM_ASSIGN_OR_RETURN(const Str* new_text, TakeString(bound[1], "replace(new)"));
  LEM_ASSIGN_OR_RETURN(const int64_t count, TakeIntOr(bound[2], -1, "replace(count)"));
  return Replace(in.heap(), self.as_string(), *old_text, *new_text, count);
}

template <Side from>
Result<Value> MethodSplit(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("split", args, {"sep", "maxsplit"})));
  LEM_ASSIGN_OR_RETURN(const int64_t max_splits, TakeIntOr(bound[1], -1, "split(maxsplit)"));
  Heap& heap = in.heap();
  if (bound[0].is_missing() || bound[0].is_none()) {
    return Value::Of(Kind::kList, SplitSpace(heap, self.as_string(), max_splits, from));
  }
  LEM_ASSIGN_OR_RETURN(const Str* separator, TakeString(bound[0], "split(sep)"));
  if (separator->text.empty()) return InvalidArgument("empty separator");
  return Value::Of(Kind::kList, SplitOn(heap, self.as_string(), separator->text, max_splits, from));
}

Result<Value> MethodSplitLines(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("splitlines", args, {"keepends"})));
  return Value::Of(Kind::kList, SplitLines(in.heap(), self.as_string(), TakeBoolOr(bound[0], false)));
}

template <Side from>
Result<Value> MethodPartition(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("partition", args, {"sep"}, 1)));
  LEM_ASSIGN_OR_RETURN(const Str* separator, TakeString(bound[0], "partition(sep)"));
  if (separator->text.empty()) return InvalidArgument("empty separator");
  Heap& heap = in.heap();
  const Str& str = self.as_string();
  heap.SpendBytes(str.text.size());
  const auto found =
      from == Side::kLeft ? FindText(str.text, separator->text) : FindLastText(str.text, separator->text);
  const Value empty = MakeString(heap, "");
  if (!found) {
    const Value parts[] = {from == Side::kLeft ? self : empty, empty, from == Side::kLeft ? empty : self};
    return MakeTuple(heap, parts);
  }
  const size_t after = *found + separator->text.size();
  const Value parts[] = {Value::String(Slice(heap, str, 0, *found)), bound[0],
                         Value::String(Slice(heap, str, after, str.text.size()))};
  return MakeTuple(heap, parts);
}

// The byte range that optional arguments start and end (in characters, from the end if negative) select.
struct Window {
  size_t begin = 0;
  size_t end = 0;
  bool valid = true;  // start is not behind the end of the text
};

Result<Window> TakeWindow(Heap& heap, const Str& str, const Value& start, const Value& end) {
  Window out{0, str.text.size()};
  if ((start.is_missing() || start.is_none()) && (end.is_missing() || end.is_none())) return out;
  heap.SpendBytes(str.text.size());
  const auto size = static_cast<int64_t>(CountChars(str.text));
  LEM_ASSIGN_OR_RETURN(int64_t first, TakeIntOr(start, 0, "start"));
  LEM_ASSIGN_OR_RETURN(int64_t last, TakeIntOr(end, size, "end"));
  if (first < 0) first = std::max<int64_t>(first + size, 0);
  if (last < 0) last = std::max<int64_t>(last + size, 0);
  last = std::min(last, size);
  if (first > last) return Window{0, 0, false};
  out.begin = CharOffset(str.text, static_cast<size_t>(first));
  out.end = CharOffset(str.text, static_cast<size_t>(last));
  return out;
}

enum class IfAbsent : uint8_t { kMinusOne, kError };

template <Side from, IfAbsent if_absent>
Result<Value> MethodFind(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("find", args, {"sub", "start", "end"}, 1)));
  LEM_ASSIGN_OR_RETURN(const Str* wanted, TakeString(bound[0], "find(sub)"));
  const Str& str = self.as_string();
  LEM_ASSIGN_OR_RETURN(const Window window, TakeWindow(in.heap(), str, bound[1], bound[2]));
  in.heap().SpendBytes(str.text.size());
  const std::string_view text = str.text.substr(window.begin, window.end - window.begin);
  std::optional<size_t> found;
  if (window.valid) {
    found = from == Side::kLeft ? FindText(text, wanted->text) : FindLastText(text, wanted->text);
  }
  if (found) return Value::Int(static_cast<int64_t>(CountChars(str.text.substr(0, window.begin + *found))));
  if (if_absent == IfAbsent::kError) return InvalidArgument("substring not found");
  return Value::Int(-1);
}

Result<Value> MethodCount(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("count", args, {"sub", "start", "end"}, 1)));
  LEM_ASSIGN_OR_RETURN(const Str* wanted, TakeString(bound[0], "count(sub)"));
  const Str& str = self.as_string();
  LEM_ASSIGN_OR_RETURN(const Window window, TakeWindow(in.heap(), str, bound[1], bound[2]));
  in.heap().SpendBytes(str.text.size());
  if (!window.valid) return Value::Int(0);
  const std::string_view text = str.text.substr(window.begin, window.end - window.begin);
  return Value::Int(static_cast<int64_t>(CountText(text, wanted->text)));
}

template <Side side>
Result<Value> MethodHasAffix(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<3>("startswith/endswith", args, {"prefix", "start", "end"}, 1)));
  const Str& str = self.as_string();
  LEM_ASSIGN_OR_RETURN(const Window window, TakeWindow(in.heap(), str, bound[1], bound[2]));
  const std::string_view text = str.text.substr(window.begin, window.end - window.begin);
  const std::span<const Value> affixes =
      bound[0].kind() == Kind::kTuple ? bound[0].list()->span() : std::span<const Value>(&bound[0], 1);
  bool holds = false;
  for (const Value& affix : affixes) {
    LEM_ASSIGN_OR_RETURN(const Str* wanted, TakeString(affix, "the first argument of startswith or endswith"));
    in.heap().SpendBytes(wanted->text.size());
    holds |= window.valid && (side == Side::kLeft ? text.starts_with(wanted->text) : text.ends_with(wanted->text));
  }
  return Value::Bool(holds);
}

template <Side side>
Result<Value> MethodRemoveAffix(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("removeprefix/removesuffix", args, {"affix"}, 1)));
  LEM_ASSIGN_OR_RETURN(const Str* affix, TakeString(bound[0], "the affix"));
  const Str& str = self.as_string();
  const size_t size = str.text.size();
  if (side == Side::kLeft) {
    return str.text.starts_with(affix->text) ? Value::String(Slice(in.heap(), str, affix->text.size(), size)) : self;
  }
  return str.text.ends_with(affix->text) ? Value::String(Slice(in.heap(), str, 0, size - affix->text.size())) : self;
}

template <Side side>
Result<Value> MethodJustify(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("justify", args, {"width", "fillchar"}, 1)));
  LEM_ASSIGN_OR_RETURN(const int64_t width, TakeInt(bound[0], "width"));
  const Str* fill = &kSpace;
  if (!bound[1].is_missing()) {
    LEM_ASSIGN_OR_RETURN(fill, TakeString(bound[1], "fillchar"));
    if (CountChars(fill->text) != 1) return InvalidArgument("the fill character must be exactly one character long");
  }
  return Pad(in.heap(), self.as_string(), width, *fill, side);
}

Result<Value> MethodZFill(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("zfill", args, {"width"}, 1)));
  LEM_ASSIGN_OR_RETURN(const int64_t width, TakeInt(bound[0], "zfill(width)"));
  const Str& str = self.as_string();
  const bool has_sign = str.text.starts_with('-') || str.text.starts_with('+');
  Heap& heap = in.heap();
  const Str* digits = Slice(heap, str, has_sign ? 1 : 0, str.text.size());
  const Value padded = Pad(heap, *digits, has_sign ? std::max<int64_t>(width, 1) - 1 : width, kZero, Side::kRight);
  TextBuilder out(heap);
  if (has_sign) out.Append(str, 0, 1);
  out.Append(padded.as_string());
  return out.Finish();
}

Result<Value> MethodExpandTabs(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("expandtabs", args, {"tabsize"})));
  LEM_ASSIGN_OR_RETURN(const int64_t tab, TakeIntOr(bound[0], 8, "expandtabs(tabsize)"));
  const Str& str = self.as_string();
  TextBuilder out(in.heap());
  int64_t column = 0;
  for (size_t pos = 0; pos < str.text.size() && !in.heap().exhausted();) {
    const CodePoint c = DecodeAt(str.text, pos);
    if (c.code == '\t') {
      const int64_t spaces = tab > 0 ? tab - column % tab : 0;
      out.AppendTimes(kSpace, spaces);
      column += spaces;
    } else {
      out.Append(str, pos, pos + c.size);
      column = c.code == '\n' || c.code == '\r' ? 0 : column + 1;
    }
    pos += c.size;
  }
  return out.Finish();
}

Result<Value> MethodJoin(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("join", args, {"iterable"}, 1)));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), bound[0]));
  TextBuilder out(in.heap());
  for (size_t i = 0; i < items->size && !in.heap().exhausted(); ++i) {
    in.heap().Spend(1);
    if (!items->items[i].is_string()) {
      return InvalidArgument("sequence item {}: expected str instance, {} found", i, TypeName(items->items[i]));
    }
    if (i > 0) out.Append(self.as_string());
    out.Append(items->items[i].as_string());
  }
  return out.Finish();
}

Result<Value> MethodFormat(Interpreter& in, const Value& self, const Arguments& args) {
  return FormatBraces(in, self.as_string(), args);
}

}  // namespace

std::span<const BuiltinEntry> StringMethods() {
  static constexpr BuiltinEntry kTable[] = {
      {"capitalize", Plain<Capitalize>},
      {"casefold", Plain<Lower>},
      {"center", MethodJustify<Side::kBoth>},
      {"count", MethodCount},
      {"endswith", MethodHasAffix<Side::kRight>},
      {"expandtabs", MethodExpandTabs},
      {"find", MethodFind<Side::kLeft, IfAbsent::kMinusOne>},
      {"format", MethodFormat},
      {"index", MethodFind<Side::kLeft, IfAbsent::kError>},
      {"join", MethodJoin},
      {"ljust", MethodJustify<Side::kLeft>},
      {"lower", Plain<Lower>},
      {"lstrip", MethodStrip<Side::kLeft>},
      {"partition", MethodPartition<Side::kLeft>},
      {"removeprefix", MethodRemoveAffix<Side::kLeft>},
      {"removesuffix", MethodRemoveAffix<Side::kRight>},
      {"replace", MethodReplace},
      {"rfind", MethodFind<Side::kRight, IfAbsent::kMinusOne>},
      {"rindex", MethodFind<Side::kRight, IfAbsent::kError>},
      {"rjust", MethodJustify<Side::kRight>},
      {"rpartition", MethodPartition<Side::kRight>},
      {"rsplit", MethodSplit<Side::kRight>},
      {"rstrip", MethodStrip<Side::kRight>},
      {"split", MethodSplit<Side::kLeft>},
      {"splitlines", MethodSplitLines},
      {"startswith", MethodHasAffix<Side::kLeft>},
      {"strip", MethodStrip<Side::kBoth>},
      {"swapcase", Plain<SwapCase>},
      {"title", Plain<Title>},
      {"upper", Plain<Upper>},
      {"zfill", MethodZFill},
  };
  return kTable;
}

}  // namespace lem::jinja
