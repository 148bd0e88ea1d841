#include "text/jinja/value.h"

#include <algorithm>
#include <cstring>

#include "text/jinja/print.h"
#include "text/jinja/text.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

// Room for one more item; false if the budget is crossed.
template <typename T>
bool Grow(Heap& heap, T*& items, size_t size, size_t& capacity) {
  if (size < capacity) return true;
  const size_t new_capacity = std::max<size_t>(4, capacity * 2);
  T* grown = heap.NewArray<T>(new_capacity);
  if (grown == nullptr) return false;
  if (size > 0) std::copy_n(items, size, grown);
  items = grown;
  capacity = new_capacity;
  return true;
}

bool EqualNumbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
  if (a.kind() == Kind::kBigInt && b.kind() == Kind::kBigInt) return a.as_big_int() == b.as_big_int();
  // long double holds every int64, uint64 and double exactly.
  const auto exact = [](const Value& value) -> long double {
    if (value.kind() == Kind::kFloat) return value.as_float();
    if (value.kind() == Kind::kBigInt) return static_cast<long double>(value.as_big_int());
    return static_cast<long double>(value.as_int());
  };
  return exact(a) == exact(b);
}

bool EqualAt(Heap& heap, const Value& a, const Value& b, int depth) {
  heap.Spend(1);
  if (heap.exhausted()) return false;
  if (depth > kMaxValueDepth) {
    heap.Exhaust(fmt::format("compares values nested deeper than {} levels", kMaxValueDepth));
    return false;
  }
  if (a.is_number() && b.is_number()) return EqualNumbers(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      heap.SpendBytes(std::min(a.text().size(), b.text().size()));
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return std::equal(a.list()->items, a.list()->items + a.list()->size, b.list()->items,
                        b.list()->items + b.list()->size,
                        [&](const Value& x, const Value& y) { return EqualAt(heap, x, y, depth + 1); });
    case Kind::kDict:
      if (a.dict()->size != b.dict()->size) return false;
      return std::ranges::all_of(a.dict()->span(), [&](const DictEntry& entry) {
        const Value* other = b.dict()->Find(heap, entry.key);
        return other != nullptr && EqualAt(heap, entry.value, *other, depth + 1);
      });
    case Kind::kRange: {
      const Range& x = *a.as<Range>();
      const Range& y = *b.as<Range>();
      if (x.size != y.size) return false;
      return x.size == 0 || (x.start == y.start && (x.size == 1 || x.step == y.step));
    }
    default:
      return a.identity() == b.identity();
  }
}

template <typename T>
bool OrderHolds(Order order, const T& a, const T& b) {
  switch (order) {
    case Order::kLess:
      return a < b;
    case Order::kLessEqual:
      return a <= b;
    case Order::kGreater:
      return a > b;
    case Order::kGreaterEqual:
      return a >= b;
  }
  return false;
}

std::string_view OrderSign(Order order) {
  switch (order) {
    case Order::kLess:
      return "<";
    case Order::kLessEqual:
      return "<=";
    case Order::kGreater:
      return ">";
    case Order::kGreaterEqual:
      return ">=";
  }
  return "<";
}

Result<bool> CompareAt(Heap& heap, Order order, const Value& a, const Value& b, int depth) {
  if (a.is_undefined()) return InvalidArgument("{}", UndefinedMessage(a));
  if (b.is_undefined()) return InvalidArgument("{}", UndefinedMessage(b));
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return OrderHolds(order, a.as_int(), b.as_int());
    const auto exact = [](const Value& value) -> long double {
      if (value.is_integral()) return static_cast<long double>(value.as_int());
      return value.kind() == Kind::kBigInt ? static_cast<long double>(value.as_big_int()) : value.as_float();
    };
    return OrderHolds(order, exact(a), exact(b));
  }
  if (a.is_string() && b.is_string()) {
    heap.SpendBytes(std::min(a.text().size(), b.text().size()));
    // The order of UTF-8 bytes is the order of code points.
    return OrderHolds(order, a.text().compare(b.text()), 0);
  }
  if (a.kind() == b.kind() && a.is_list_or_tuple()) {
    if (depth > kMaxValueDepth) {
      return ResourceExhausted("compares values nested deeper than {} levels", kMaxValueDepth);
    }
    const size_t common = std::min(a.list()->size, b.list()->size);
    for (size_t i = 0; i < common; ++i) {
      const Value& x = a.list()->items[i];
      const Value& y = b.list()->items[i];
      if (!EqualAt(heap, x, y, depth + 1)) return CompareAt(heap, order, x, y, depth + 1);
    }
    return OrderHolds(order, a.list()->size, b.list()->size);
  }
  return InvalidArgument("'{}' not supported between instances of '{}' and '{}'", OrderSign(order), TypeName(a),
                         TypeName(b));
}

}  // namespace

void List::Push(Heap& heap, Value value) {
  heap.Spend(1);
  if (Grow(heap, items, size, capacity)) items[size++] = value;
}

const Value* Dict::Find(Heap& heap, const Value& key) const {
  heap.Spend(size >> 4);
  for (const DictEntry& entry : span()) {
    if (Equal(heap, entry.key, key)) return &entry.value;
  }
  return nullptr;
}

const Value* Dict::Find(Heap& heap, std::string_view key) const {
  heap.Spend(size >> 4);
  for (const DictEntry& entry : span()) {
    if (entry.key.is_string() && entry.key.text() == key) return &entry.value;
  }
  return nullptr;
}

void Dict::Set(Heap& heap, Value key, Value value) {
  if (const Value* old = Find(heap, key)) {
    *const_cast<Value*>(old) = value;
    return;
  }
  Push(heap, key, value);
}

void Dict::Push(Heap& heap, Value key, Value value) {
  heap.Spend(1);
  if (Grow(heap, entries, size, capacity)) entries[size++] = {key, value};
}

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      switch (value.list()->role) {
        case ListRole::kKeys:
          return "dict_keys";
        case ListRole::kValues:
          return "dict_values";
        default:
          return "dict_items";
      }
    case Kind::kGenerator:
      return "generator";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
  }
  return "object";
}

std::string UndefinedMessage(const Value& value) {
  const Undefined& undefined = *value.as<Undefined>();
  if (!undefined.hint.empty()) return std::string(undefined.hint);
  if (undefined.owner.is_missing()) return fmt::format("'{}' is undefined", undefined.key.text());
  const std::string owner =
      undefined.owner.is_none() ? std::string("None") : fmt::format("{} object", TypeName(undefined.owner));
  if (undefined.key.is_string()) return fmt::format("'{}' has no attribute '{}'", owner, undefined.key.text());
  return fmt::format("{} has no element {}", owner,
                     undefined.key.is_integral() ? fmt::format("{}", undefined.key.as_int())
                                                 : fmt::format("of type {}", TypeName(undefined.key)));
}

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.as_bool();
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_float() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
      return value.list()->size != 0;
    case Kind::kDict:
      return value.dict()->size != 0;
    case Kind::kRange:
      return value.as<Range>()->size != 0;
    default:
      return true;
  }
}

bool Equal(Heap& heap, const Value& a, const Value& b) { return EqualAt(heap, a, b, 0); }

bool IsHashable(const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView:
      return false;
    case Kind::kTuple:
      // A tuple is as deep as the source that made it: tuples of tuples through a loop end at the depth of Equal.
      return std::ranges::all_of(value.list()->span(),
                                 [](const Value& item) { return item.kind() == Kind::kTuple || IsHashable(item); });
    default:
      return true;
  }
}

Result<bool> Compare(Heap& heap, Order order, const Value& a, const Value& b) {
  return CompareAt(heap, order, a, b, 0);
}

Result<size_t> Length(Heap& heap, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return size_t{0};
    case Kind::kString:
      heap.SpendBytes(value.text().size());
      return CountChars(value.text());
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
      return value.list()->size;
    case Kind::kDict:
      return value.dict()->size;
    case Kind::kRange:
      return value.as<Range>()->size;
    default:
      return InvalidArgument("object of type '{}' has no len()", TypeName(value));
  }
}

Result<const List*> Items(Heap& heap, const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
      return value.list();
    case Kind::kGenerator: {
      List* source = value.list();
      auto* rest = heap.New<List>();
      rest->items = source->items + source->next;
      rest->size = rest->capacity = source->size - source->next;
      source->next = source->size;
      return rest;
    }
    default:
      break;
  }
  List* out = NewList(heap);
  switch (value.kind()) {
    case Kind::kUndefined:
      return out;
    case Kind::kString: {
      const Str& text = value.as_string();
      for (size_t pos = 0; pos < text.text.size() && !heap.exhausted();) {
        const size_t size = DecodeAt(text.text, pos).size;
        out->Push(heap, Value::String(Slice(heap, text, pos, pos + size)));
        pos += size;
      }
      return out;
    }
    case Kind::kDict:
      for (const DictEntry& entry : value.dict()->span()) out->Push(heap, entry.key);
      return out;
    case Kind::kRange:
      for (size_t i = 0; i < value.as<Range>()->size && !heap.exhausted(); ++i) {
        out->Push(heap, Value::Int(value.as<Range>()->At(i)));
      }
      return out;
    default:
      return InvalidArgument("'{}' object is not iterable", TypeName(value));
  }
}

double AsDouble(const Value& value) {
  switch (value.kind()) {
    case Kind::kFloat:
      return value.as_float();
    case Kind::kBigInt:
      return static_cast<double>(value.as_big_int());
    default:
      return static_cast<double>(value.as_int());
  }
}

Value MakeUndefined(Heap& heap, const Value& owner, const Value& key) {
  return Value::Of(heap.New<Undefined>(owner, key, std::string_view()));
}

Value MakeUndefinedHint(Heap& heap, std::string_view hint) {
  return Value::Of(heap.New<Undefined>(Value(), Value(), hint));
}

List* NewList(Heap& heap) { return heap.New<List>(); }

Value MakeTuple(Heap& heap, std::span<const Value> items) {
  List* out = NewList(heap);
  for (const Value& item : items) out->Push(heap, item);
  return Value::Of(Kind::kTuple, out);
}

}  // namespace lem::jinja
