// What the filters on sequences share: looking up a dotted attribute of each item, and a stable sort.
#pragma once

#include <string>
#include <vector>

#include "text/jinja/interpreter.h"

namespace lem::jinja {

enum class Case : uint8_t { kSensitive, kIgnored };

// Takes "a.b.0" (or an index, or nothing) of a value, the way filters name what they look at.
class AttributeGetter {
 public:
  // `attribute` may be missing or None: the item itself. Errors: InvalidArgument if it is no string or integer.
  static Result<AttributeGetter> Make(Heap& heap, const Value& attribute, Case letter_case, Value fallback = {});

  // The attribute of `item`, in lower case if case is ignored.
  Result<Value> Get(Interpreter& interpreter, const Value& item) const;

 private:
  std::vector<Value> parts_;
  Case letter_case_ = Case::kSensitive;
  Value fallback_;  // instead of an undefined part; missing: none
};

struct KeyedItem {
  Value key;
  Value item;
};

enum class Direction : uint8_t { kAscending, kDescending };
// Sorts by key; equal keys keep their order. Errors: InvalidArgument for keys without an order.
Status SortByKey(Heap& heap, std::vector<KeyedItem>& items, Direction direction);

Value IgnoreCase(Heap& heap, const Value& value);
Value ListOf(Heap& heap, Kind kind, const std::vector<KeyedItem>& items);

}  // namespace lem::jinja
