// Values of a template: small copyable handles to objects in a Heap. Python's types and rules, as far as chat templates
// can see them. Strings are immutable and remember which bytes came from the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "text/jinja/heap.h"

namespace lem::jinja {

enum class Kind : uint8_t {
  kMissing,  // no argument given; never seen by a template
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // above INT64_MAX, only from JSON: prints, compares, but does not calculate
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,       // dict.keys(), .values(), .items()
  kGenerator,  // what map, select, ... return: can be walked once
  kNamespace,
  kCallable,
  kLoop,
  kCycler,
  kJoiner,
};

// Bytes [begin, end) of a string that came from the caller. Spans of a string are sorted, apart and not empty.
struct TaintSpan {
  size_t begin = 0;
  size_t end = 0;
};

struct Str {
  std::string_view text;
  std::span<const TaintSpan> taint;
  bool markup = false;  // made by `safe` or `escape`: `+` escapes the other side
};

class Value;
struct List;
struct Dict;
struct Range;
struct Undefined;
struct Callable;
struct LoopState;
struct Cycler;
struct Joiner;

class Value {
 public:
  constexpr Value() = default;

  static Value None() { return Value(Kind::kNone); }
  static Value Bool(bool value) {
    Value out(Kind::kBool);
    out.bool_ = value;
    return out;
  }
  static Value Int(int64_t value) {
    Value out(Kind::kInt);
    out.int_ = value;
    return out;
  }
  static Value BigInt(uint64_t value) {
    Value out(Kind::kBigInt);
    out.big_ = value;
    return out;
  }
  static Value Float(double value) {
    Value out(Kind::kFloat);
    out.float_ = value;
    return out;
  }
  static Value String(const Str* value) {
    Value out(Kind::kString);
    out.str_ = value;
    return out;
  }
  static Value Of(Kind kind, List* value) {
    Value out(kind);
    out.list_ = value;
    return out;
  }
  static Value Of(Kind kind, Dict* value) {
    Value out(kind);
    out.dict_ = value;
    return out;
  }
  static Value Of(Range* value) { return Pointer(Kind::kRange, value); }
  static Value Of(Undefined* value) { return Pointer(Kind::kUndefined, value); }
  static Value Of(Callable* value) { return Pointer(Kind::kCallable, value); }
  static Value Of(LoopState* value) { return Pointer(Kind::kLoop, value); }
  static Value Of(Cycler* value) { return Pointer(Kind::kCycler, value); }
  static Value Of(Joiner* value) { return Pointer(Kind::kJoiner, value); }

  Kind kind() const { return kind_; }
  bool is_missing() const { return kind_ == Kind::kMissing; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_list_or_tuple() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  // bool, int or float, as in Python, where True is 1.
  bool is_number() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }
  bool is_integral() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }

  // REQUIRES of each: the kind fits.
  bool as_bool() const { return bool_; }
  int64_t as_int() const { return kind_ == Kind::kBool ? int64_t{bool_} : int_; }
  uint64_t as_big_int() const { return big_; }
  double as_float() const { return float_; }
  const Str& as_string() const { return *str_; }
  std::string_view text() const { return str_->text; }
  List* list() const { return list_; }  // list, tuple, view, generator
  Dict* dict() const { return dict_; }  // dict, namespace
  template <typename T>
  T* as() const {
    return static_cast<T*>(pointer_);
  }

  // A number, bool or None that came from the caller; strings carry their own marks.
  bool tainted() const { return tainted_; }
  Value WithTaint(bool tainted) const {
    Value out = *this;
    out.tainted_ = tainted;
    return out;
  }

  // The object that two handles share, for `sameas`.
  const void* identity() const { return pointer_; }

 private:
  explicit Value(Kind kind) : kind_(kind) {}
  static Value Pointer(Kind kind, void* pointer) {
    Value out(kind);
    out.pointer_ = pointer;
    return out;
  }

  Kind kind_ = Kind::kMissing;
  bool tainted_ = false;
  union {
    void* pointer_ = nullptr;
    bool bool_;
    int64_t int_;
    uint64_t big_;
    double float_;
    const Str* str_;
    List* list_;
    Dict* dict_;
  };
};

enum class ListRole : uint8_t { kPlain, kGroup, kKeys, kValues, kItems };

struct List {
  Value* items = nullptr;
  size_t size = 0;
  size_t capacity = 0;
  size_t next = 0;  // generators: items before this are used up
  ListRole role = ListRole::kPlain;

  void Push(Heap& heap, Value value);
  std::span<const Value> span() const { return {items, size}; }
};

struct DictEntry {
  Value key;
  Value value;
};

// Keeps the order of insertion. Look-up is linear and counted in the budget: objects in chats are small.
struct Dict {
  DictEntry* entries = nullptr;
  size_t size = 0;
  size_t capacity = 0;

  const Value* Find(Heap& heap, const Value& key) const;
  const Value* Find(Heap& heap, std::string_view key) const;
  void Set(Heap& heap, Value key, Value value);
  // REQUIRES: the key is new.
  void Push(Heap& heap, Value key, Value value);
  std::span<const DictEntry> span() const { return {entries, size}; }
};

struct Range {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  size_t size = 0;
  int64_t At(size_t idx) const { return start + static_cast<int64_t>(idx) * step; }
};

// What a name, attribute or element that does not exist evaluates to. `owner` is missing for a plain name.
struct Undefined {
  Value owner;
  Value key;
  std::string_view hint;  // replaces the usual message
};

struct Cycler {
  List* items = nullptr;
  size_t pos = 0;
};

struct Joiner {
  Value separator;
  bool used = false;
};

// Nested values deeper than this cannot be printed or compared. JSON input is at most 200 deep.
inline constexpr int kMaxValueDepth = 300;

// "str", "int", "dict", ... as Python names the type.
std::string_view TypeName(const Value& value);
// Why an undefined value cannot be used: "'x' is undefined".
std::string UndefinedMessage(const Value& value);
bool IsTrue(const Value& value);
bool Equal(Heap& heap, const Value& a, const Value& b);
bool IsHashable(const Value& value);

enum class Order : uint8_t { kLess, kLessEqual, kGreater, kGreaterEqual };
// a < b and so on. Errors: InvalidArgument for types that have no order.
Result<bool> Compare(Heap& heap, Order order, const Value& a, const Value& b);

// Number of items, characters or keys. Errors: InvalidArgument for what has no length.
Result<size_t> Length(Heap& heap, const Value& value);
// The items of anything that can be walked, as a list that the caller must not change; generators are used up.
Result<const List*> Items(Heap& heap, const Value& value);

// A number as double. REQUIRES: is_number().
double AsDouble(const Value& value);

Value MakeUndefined(Heap& heap, const Value& owner, const Value& key);
Value MakeUndefinedHint(Heap& heap, std::string_view hint);
List* NewList(Heap& heap);
Value MakeTuple(Heap& heap, std::span<const Value> items);

}  // namespace lem::jinja
