// Attributes, elements and slices of values.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

// What `loop` offers besides its methods; missing if it has no such attribute.
Value LoopAttribute(Heap& heap, const LoopState& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.items->size);
  if (name == "index0") return Value::Int(index);
  if (name == "index") return Value::Int(index + 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index + 1 == size);
  if (name == "length") return Value::Int(size);
  if (name == "revindex0") return Value::Int(size - index - 1);
  if (name == "revindex") return Value::Int(size - index);
  if (name == "depth0") return Value::Int(loop.depth);
  if (name == "depth") return Value::Int(loop.depth + 1);
  if (name == "previtem") {
    return index > 0 ? loop.items->items[index - 1] : MakeUndefinedHint(heap, "there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < size ? loop.items->items[index + 1] : MakeUndefinedHint(heap, "there is no next item");
  }
  return Value();
}

// Start, stop and step of a slice over `size` items, as Python normalises them.
struct SliceBounds {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  size_t count = 0;
  size_t At(size_t i) const { return static_cast<size_t>(start + static_cast<int64_t>(i) * step); }
};

Result<SliceBounds> NormalizeSlice(int64_t size, const Value& start, const Value& stop, const Value& step) {
  const auto is_given = [](const Value& value) { return !value.is_missing() && !value.is_none(); };
  for (const Value& bound : {start, stop, step}) {
    if (!is_given(bound)) continue;
    if (bound.is_undefined()) return InvalidArgument("{}", UndefinedMessage(bound));
    if (!bound.is_integral()) {
      return InvalidArgument("slice indices must be integers or None, not {}", TypeName(bound));
    }
  }
  SliceBounds out;
  // A step beyond the size acts like the size, which keeps the arithmetic in range.
  const int64_t limit = size + 1;
  if (is_given(step)) out.step = std::clamp(step.as_int(), -limit, limit);
  if (out.step == 0) return InvalidArgument("slice step cannot be zero");
  const auto clip = [&](const Value& bound, int64_t fallback) {
    if (!is_given(bound)) return fallback;
    int64_t at = std::clamp(bound.as_int(), -limit, limit);
    if (at < 0) at += size;
    return out.step > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  out.start = clip(start, out.step > 0 ? 0 : size - 1);
  out.stop = clip(stop, out.step > 0 ? size : -1);
  const int64_t span = out.step > 0 ? out.stop - out.start : out.start - out.stop;
  const int64_t stride = out.step > 0 ? out.step : -out.step;
  out.count = span > 0 ? static_cast<size_t>((span + stride - 1) / stride) : 0;
  return out;
}

Value SliceString(Heap& heap, const Str& str, const SliceBounds& bounds, size_t num_chars) {
  const bool ascii = num_chars == str.text.size();
  if (bounds.step == 1) {
    const size_t begin = ascii ? bounds.At(0) : CharOffset(str.text, bounds.At(0));
    const size_t end = ascii ? begin + bounds.count : begin + CharOffset(str.text.substr(begin), bounds.count);
    return Value::String(Slice(heap, str, begin, end));
  }
  std::vector<size_t> offsets;  // of each character, when they are not one byte each
  if (!ascii) {
    for (size_t pos = 0; pos < str.text.size(); pos += DecodeAt(str.text, pos).size) offsets.push_back(pos);
  }
  TextBuilder out(heap);
  for (size_t i = 0; i < bounds.count && !heap.exhausted(); ++i) {
    const size_t begin = ascii ? bounds.At(i) : offsets[bounds.At(i)];
    out.Append(str, begin, begin + DecodeAt(str.text, begin).size);
  }
  return out.Finish();
}

// The character with this index, counted from the end if negative; missing if there is none.
Value CharAt(Heap& heap, const Str& str, int64_t index) {
  heap.SpendBytes(str.text.size());
  const auto at = static_cast<size_t>(index >= 0 ? index : -(index + 1));
  if (at >= str.text.size()) return Value();
  size_t pos = 0;
  if (index >= 0) {
    pos = CharOffset(str.text, at);
    if (pos >= str.text.size()) return Value();
  } else {
    pos = str.text.size();
    for (size_t i = 0; i <= at; ++i) {
      if (pos == 0) return Value();
      pos = PreviousChar(str.text, pos);
    }
  }
  return Value::String(Slice(heap, str, pos, pos + DecodeAt(str.text, pos).size));
}

// value[index] for sequences; missing if the index is outside or the value has no elements.
Value ElementAt(Heap& heap, const Value& object, int64_t index) {
  if (object.is_string()) return CharAt(heap, object.as_string(), index);
  size_t size = 0;
  if (object.is_list_or_tuple()) size = object.list()->size;
  if (object.kind() == Kind::kRange) size = object.as<Range>()->size;
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || static_cast<size_t>(index) >= size) return Value();
  const auto at = static_cast<size_t>(index);
  return object.kind() == Kind::kRange ? Value::Int(object.as<Range>()->At(at)) : object.list()->items[at];
}

}  // namespace

Result<Value> Interpreter::FindAttribute(const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::kNamespace: {
      const Value* found = object.dict()->Find(heap_, name);
      return found != nullptr ? *found : Value();
    }
    case Kind::kLoop: {
      auto* loop = object.as<LoopState>();
      if (name == "last" || name == "nextitem") LEM_TRY(TakeItems(*loop, loop->index + 2));
      if (name == "length" || name == "revindex" || name == "revindex0") LEM_TRY(TakeItems(*loop, SIZE_MAX));
      const Value found = LoopAttribute(heap_, *loop, name);
      if (!found.is_missing()) return found;
      break;
    }
    case Kind::kTuple:
      if (object.list()->role == ListRole::kGroup && name == "grouper") return object.list()->items[0];
      if (object.list()->role == ListRole::kGroup && name == "list") return object.list()->items[1];
      break;
    case Kind::kCycler:
      if (name == "current") return object.as<Cycler>()->items->items[object.as<Cycler>()->pos];
      break;
    case Kind::kCallable:
      if (name == "name" && object.as<Callable>()->macro != nullptr) {
        return Value::String(TrustedStr(heap_, object.as<Callable>()->name));
      }
      break;
    default:
      break;
  }
  const Builtin method = FindMethod(object, name);
  if (method == nullptr) return Value();
  auto* bound = heap_.New<Callable>();
  bound->name = name;
  bound->function = method;
  bound->self = object;
  return Value::Of(bound);
}

Result<Value> Interpreter::GetAttribute(const Value& object, const Value& name) {
  if (object.is_undefined()) return InvalidArgument("{}", UndefinedMessage(object));
  LEM_ASSIGN_OR_RETURN(const Value found, FindAttribute(object, name.text()));
  if (!found.is_missing()) return found;
  if (object.kind() == Kind::kDict) {
    if (const Value* value = object.dict()->Find(heap_, name.text())) return *value;
  }
  return MakeUndefined(heap_, object, name);
}

Result<Value> Interpreter::GetElement(const Value& object, const Value& key) {
  if (object.is_undefined()) return InvalidArgument("{}", UndefinedMessage(object));
  if (object.kind() == Kind::kDict && IsHashable(key)) {
    if (const Value* value = object.dict()->Find(heap_, key)) return *value;
  }
  if (key.is_integral()) {
    const Value found = ElementAt(heap_, object, key.as_int());
    if (!found.is_missing()) return found;
  }
  if (key.is_string()) {
    LEM_ASSIGN_OR_RETURN(const Value found, FindAttribute(object, key.text()));
    if (!found.is_missing()) return found;
  }
  return MakeUndefined(heap_, object, key);
}

Result<Value> SliceValue(Heap& heap, const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (value.is_undefined()) return InvalidArgument("{}", UndefinedMessage(value));
  const bool can_slice = value.is_string() || value.is_list_or_tuple() || value.kind() == Kind::kRange;
  if (!can_slice) return InvalidArgument("'{}' object cannot be sliced", TypeName(value));
  LEM_ASSIGN_OR_RETURN(const size_t size, Length(heap, value));
  LEM_ASSIGN_OR_RETURN(const SliceBounds bounds, NormalizeSlice(static_cast<int64_t>(size), start, stop, step));
  if (value.is_string()) {
    if (bounds.count == 0) return MakeString(heap, "");
    return SliceString(heap, value.as_string(), bounds, size);
  }
  if (value.kind() == Kind::kRange) {
    const Range& range = *value.as<Range>();
    auto* out = heap.New<Range>();
    out->start = range.start + bounds.start * range.step;
    out->step = range.step * bounds.step;
    out->stop = range.start + bounds.stop * range.step;
    out->size = bounds.count;
    return Value::Of(out);
  }
  List* out = NewList(heap);
  for (size_t i = 0; i < bounds.count && !heap.exhausted(); ++i) out->Push(heap, value.list()->items[bounds.At(i)]);
  return Value::Of(value.kind(), out);
}

}  // namespace lem::jinja
