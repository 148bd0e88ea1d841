#include "text/jinja/string_ops.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

// Maps each character to text; `map` appends to the string it is given.
template <typename Map>
Value MapChars(Heap& heap, const Str& str, Map map) {
  TextBuilder out(heap);
  TaintCursor taint(str);
  std::string run;
  bool run_tainted = false;
  for (size_t pos = 0; pos < str.text.size() && !heap.exhausted();) {
    const CodePoint c = DecodeAt(str.text, pos);
    heap.SpendBytes(c.size);
    const bool tainted = taint.At(pos);
    if (tainted != run_tainted) {
      out.Append(run, run_tainted);
      run.clear();
      run_tainted = tainted;
    }
    map(run, c.code);
    pos += c.size;
  }
  out.Append(run, run_tainted);
  return out.Finish();
}

bool IsInChars(std::string_view chars, char32_t code) {
  for (size_t pos = 0; pos < chars.size();) {
    const CodePoint c = DecodeAt(chars, pos);
    if (c.code == code) return true;
    pos += c.size;
  }
  return false;
}

Value Part(Heap& heap, const Str& str, size_t begin, size_t end) { return Value::String(Slice(heap, str, begin, end)); }

List* Reversed(List* list) {
  std::reverse(list->items, list->items + list->size);
  return list;
}

List* SplitSpaceFromRight(Heap& heap, const Str& str, int64_t max_splits) {
  List* out = NewList(heap);
  size_t end = str.text.size();
  while (end > 0 && !heap.exhausted()) {
    const size_t last = PreviousChar(str.text, end);
    if (IsSpace(DecodeAt(str.text, last).code)) {
      end = last;
      continue;
    }
    size_t begin = last;
    const bool is_rest = max_splits >= 0 && out->size == static_cast<size_t>(max_splits);
    while (begin > 0) {
      const size_t before = PreviousChar(str.text, begin);
      if (!is_rest && IsSpace(DecodeAt(str.text, before).code)) break;
      begin = before;
    }
    // The rest, after the last split, keeps its white space at the left, as in Python.
    out->Push(heap, Part(heap, str, is_rest ? 0 : begin, end));
    end = is_rest ? 0 : begin;
  }
  return Reversed(out);
}

}  // namespace

Value Strip(Heap& heap, const Str& str, const Str* chars, Side side) {
  heap.SpendBytes(str.text.size());
  const auto strips = [&](size_t pos) {
    const char32_t code = DecodeAt(str.text, pos).code;
    return chars == nullptr ? IsSpace(code) : IsInChars(chars->text, code);
  };
  size_t begin = 0;
  size_t end = str.text.size();
  if (side != Side::kRight) {
    while (begin < end && strips(begin)) begin += DecodeAt(str.text, begin).size;
  }
  if (side != Side::kLeft) {
    while (end > begin) {
      const size_t last = PreviousChar(str.text, end);
      if (!strips(last)) break;
      end = last;
    }
  }
  return Part(heap, str, begin, end);
}

Value Upper(Heap& heap, const Str& str) { return MapChars(heap, str, AppendUpper); }
Value Lower(Heap& heap, const Str& str) { return MapChars(heap, str, AppendLower); }

Value Capitalize(Heap& heap, const Str& str) {
  bool first = true;
  return MapChars(heap, str, [&](std::string& out, char32_t code) {
    std::exchange(first, false) ? AppendTitle(out, code) : AppendLower(out, code);
  });
}

Value SwapCase(Heap& heap, const Str& str) {
  return MapChars(heap, str, [](std::string& out, char32_t code) {
    if (IsUpper(code)) {
      AppendLower(out, code);
    } else {
      AppendUpper(out, code);
    }
  });
}

Value Title(Heap& heap, const Str& str) {
  bool in_word = false;
  return MapChars(heap, str, [&](std::string& out, char32_t code) {
    in_word ? AppendLower(out, code) : AppendTitle(out, code);
    in_word = IsCased(code);
  });
}

Value TitleWords(Heap& heap, const Str& str) {
  bool in_word = false;
  return MapChars(heap, str, [&](std::string& out, char32_t code) {
    in_word ? AppendLower(out, code) : AppendUpper(out, code);
    in_word = !IsSpace(code) && code != '-' && code != '(' && code != '{' && code != '[' && code != '<';
  });
}

Value Replace(Heap& heap, const Str& str, const Str& old_text, const Str& new_text, int64_t count) {
  TextBuilder out(heap);
  size_t pos = 0;
  if (old_text.text.empty()) {
    // The new text goes before each character and to the end.
    for (; count != 0 && !heap.exhausted(); --count) {
      out.Append(new_text);
      if (pos == str.text.size()) break;
      const size_t size = DecodeAt(str.text, pos).size;
      out.Append(str, pos, pos + size);
      pos += size;
    }
  } else {
    for (; count != 0 && !heap.exhausted(); --count) {
      const std::optional<size_t> found = FindText(str.text, old_text.text, pos);
      if (!found) break;
      out.Append(str, pos, *found);
      out.Append(new_text);
      pos = *found + old_text.text.size();
    }
    if (pos == 0) return Value::String(&str);
  }
  out.Append(str, pos, str.text.size());
  return out.Finish();
}

List* SplitSpace(Heap& heap, const Str& str, int64_t max_splits, Side from) {
  heap.SpendBytes(str.text.size());
  if (from == Side::kRight) return SplitSpaceFromRight(heap, str, max_splits);
  List* out = NewList(heap);
  for (size_t pos = 0; pos < str.text.size() && !heap.exhausted();) {
    const CodePoint c = DecodeAt(str.text, pos);
    if (IsSpace(c.code)) {
      pos += c.size;
      continue;
    }
    if (max_splits >= 0 && out->size == static_cast<size_t>(max_splits)) {
      out->Push(heap, Strip(heap, *Slice(heap, str, pos, str.text.size()), nullptr, Side::kLeft));
      break;
    }
    size_t end = pos;
    while (end < str.text.size()) {
      const CodePoint next = DecodeAt(str.text, end);
      if (IsSpace(next.code)) break;
      end += next.size;
    }
    out->Push(heap, Part(heap, str, pos, end));
    pos = end;
  }
  return out;
}

List* SplitOn(Heap& heap, const Str& str, std::string_view separator, int64_t max_splits, Side from) {
  heap.SpendBytes(str.text.size());
  List* out = NewList(heap);
  if (from == Side::kLeft) {
    size_t pos = 0;
    for (; max_splits != 0 && !heap.exhausted(); --max_splits) {
      const std::optional<size_t> found = FindText(str.text, separator, pos);
      if (!found) break;
      out->Push(heap, Part(heap, str, pos, *found));
      pos = *found + separator.size();
    }
    out->Push(heap, Part(heap, str, pos, str.text.size()));
    return out;
  }
  // From the right in linear time: cut the reversed text at the reversed separator.
  const std::string reversed(str.text.rbegin(), str.text.rend());
  const std::string wanted(separator.rbegin(), separator.rend());
  const size_t size = str.text.size();
  size_t pos = 0;
  for (; max_splits != 0 && !heap.exhausted(); --max_splits) {
    const std::optional<size_t> found = FindText(reversed, wanted, pos);
    if (!found) break;
    out->Push(heap, Part(heap, str, size - *found, size - pos));
    pos = *found + wanted.size();
  }
  out->Push(heap, Part(heap, str, 0, size - pos));
  return Reversed(out);
}

List* SplitLines(Heap& heap, const Str& str, bool keep_ends) {
  heap.SpendBytes(str.text.size());
  List* out = NewList(heap);
  size_t begin = 0;
  for (size_t pos = 0; pos < str.text.size() && !heap.exhausted();) {
    const CodePoint c = DecodeAt(str.text, pos);
    size_t next = pos + c.size;
    if (IsLineBreak(c.code)) {
      if (c.code == '\r' && next < str.text.size() && str.text[next] == '\n') ++next;
      out->Push(heap, Part(heap, str, begin, keep_ends ? next : pos));
      begin = next;
    }
    pos = next;
  }
  if (begin < str.text.size()) out->Push(heap, Part(heap, str, begin, str.text.size()));
  return out;
}

Value Pad(Heap& heap, const Str& str, int64_t width, const Str& fill, Side side) {
  heap.SpendBytes(str.text.size());
  const auto size = static_cast<int64_t>(CountChars(str.text));
  if (width <= size) return Value::String(&str);
  const int64_t missing = width - size;
  // An odd character more goes to the left if the width is odd, as in Python.
  const int64_t left = side == Side::kLeft ? 0 : side == Side::kRight ? missing : missing / 2 + (missing & width & 1);
  TextBuilder out(heap);
  out.AppendTimes(fill, left);
  out.Append(str);
  out.AppendTimes(fill, missing - left);
  return out.Finish();
}

std::optional<size_t> FindText(std::string_view text, std::string_view wanted, size_t begin) {
  if (begin > text.size()) return std::nullopt;
  if (wanted.empty()) return begin;
  if (text.size() - begin < wanted.size()) return std::nullopt;  // also keeps a null view from memmem
  // memmem is linear in glibc (two-way search), unlike std::string_view::find.
  const void* found = memmem(text.data() + begin, text.size() - begin, wanted.data(), wanted.size());
  if (found == nullptr) return std::nullopt;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

std::optional<size_t> FindLastText(std::string_view text, std::string_view wanted) {
  if (wanted.empty()) return text.size();
  const std::string reversed(text.rbegin(), text.rend());
  const std::optional<size_t> found = FindText(reversed, std::string(wanted.rbegin(), wanted.rend()));
  if (!found) return std::nullopt;
  return text.size() - *found - wanted.size();
}

size_t CountText(std::string_view text, std::string_view wanted) {
  if (wanted.empty()) return CountChars(text) + 1;
  size_t count = 0;
  for (size_t pos = 0;; ++count) {
    const std::optional<size_t> found = FindText(text, wanted, pos);
    if (!found) return count;
    pos = *found + wanted.size();
  }
}

}  // namespace lem::jinja
