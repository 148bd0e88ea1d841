#include "text/jinja/sequence_ops.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/string_ops.h"

namespace lem::jinja {

Result<AttributeGetter> AttributeGetter::Make(Heap& heap, const Value& attribute, Case letter_case, Value fallback) {
  AttributeGetter out;
  out.letter_case_ = letter_case;
  out.fallback_ = fallback;
  if (attribute.is_missing() || attribute.is_none()) return out;
  if (!attribute.is_string()) {
    if (!attribute.is_integral()) return InvalidArgument("attribute must be a name, not {}", TypeName(attribute));
    out.parts_.push_back(attribute);
    return out;
  }
  for (const Value& part : SplitOn(heap, attribute.as_string(), ".", -1, Side::kLeft)->span()) {
    const std::string_view text = part.text();
    const bool digits = !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
    int64_t index = 0;
    if (digits && std::from_chars(text.data(), text.data() + text.size(), index).ec == std::errc()) {
      out.parts_.push_back(Value::Int(index));
    } else {
      out.parts_.push_back(part);
    }
  }
  return out;
}

Result<Value> AttributeGetter::Get(Interpreter& interpreter, const Value& item) const {
  Value value = item;
  for (const Value& part : parts_) {
    interpreter.heap().Spend(1);
    LEM_ASSIGN_OR_RETURN(value, interpreter.GetElement(value, part));
    if (value.is_undefined() && !fallback_.is_missing()) value = fallback_;
  }
  return letter_case_ == Case::kIgnored ? IgnoreCase(interpreter.heap(), value) : value;
}

Value IgnoreCase(Heap& heap, const Value& value) { return value.is_string() ? Lower(heap, value.as_string()) : value; }

// A merge sort of our own, because a comparison may fail, and NaN makes an order that std::sort must not see.
Status SortByKey(Heap& heap, std::vector<KeyedItem>& items, Direction direction) {
  std::vector<KeyedItem> merged(items.size());
  for (size_t width = 1; width < items.size(); width *= 2) {
    for (size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, items.size());
      const size_t end = std::min(begin + 2 * width, items.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          heap.Spend(1);
          if (heap.exhausted()) return heap.status();
          const bool ascending = direction == Direction::kAscending;
          LEM_ASSIGN_OR_RETURN(take_right, Compare(heap, Order::kLess, items[ascending ? right : left].key,
                                                   items[ascending ? left : right].key));
        }
        merged[out] = items[take_right ? right++ : left++];
      }
    }
    items.swap(merged);
  }
  return OkStatus();
}

Value ListOf(Heap& heap, Kind kind, const std::vector<KeyedItem>& items) {
  List* out = NewList(heap);
  for (const KeyedItem& keyed : items) out->Push(heap, keyed.item);
  return Value::Of(kind, out);
}

}  // namespace lem::jinja
