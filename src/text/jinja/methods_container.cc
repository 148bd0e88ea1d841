// Methods of list, tuple and dict. Of those that change their object only list.append exists: some templates collect
// with it, though Jinja's own sandbox refuses it.
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"

namespace lem::jinja {
namespace {

Result<Value> ListAppend(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("append", args, {"item"}, 1)));
  self.list()->Push(in.heap(), bound[0]);
  return Value::None();
}

Result<Value> ListCopy(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("copy", args));
  List* out = NewList(in.heap());
  for (const Value& item : self.list()->span()) out->Push(in.heap(), item);
  return Value::Of(Kind::kList, out);
}

Result<Value> SequenceCount(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("count", args, {"value"}, 1)));
  int64_t count = 0;
  for (const Value& item : self.list()->span()) count += Equal(in.heap(), item, bound[0]) ? 1 : 0;
  return Value::Int(count);
}

Result<Value> SequenceIndex(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("index", args, {"value"}, 1)));
  for (size_t i = 0; i < self.list()->size; ++i) {
    if (Equal(in.heap(), self.list()->items[i], bound[0])) return Value::Int(static_cast<int64_t>(i));
  }
  return InvalidArgument("the value is not in the {}", TypeName(self));
}

template <ListRole role>
Result<Value> DictView(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("method", args));
  Heap& heap = in.heap();
  List* out = NewList(heap);
  out->role = role;
  for (const DictEntry& entry : self.dict()->span()) {
    const Value pair[] = {entry.key, entry.value};
    out->Push(heap, role == ListRole::kKeys     ? entry.key
                    : role == ListRole::kValues ? entry.value
                                                : MakeTuple(heap, pair));
  }
  return Value::Of(Kind::kView, out);
}

Result<Value> DictGet(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("get", args, {"key", "default"}, 1)));
  if (!IsHashable(bound[0])) return InvalidArgument("unhashable type: '{}'", TypeName(bound[0]));
  if (const Value* found = self.dict()->Find(in.heap(), bound[0])) return *found;
  return bound[1].is_missing() ? Value::None() : bound[1];
}

Result<Value> DictCopy(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("copy", args));
  auto* out = in.heap().New<Dict>();
  for (const DictEntry& entry : self.dict()->span()) out->Push(in.heap(), entry.key, entry.value);
  return Value::Of(Kind::kDict, out);
}

// In the place of Python's methods that change their object, so that a template gets a reason.
Result<Value> Refuse(Interpreter&, const Value& self, const Arguments&) {
  return InvalidArgument("a template must not change a {}; use namespace() for values that change", TypeName(self));
}

}  // namespace

std::span<const BuiltinEntry> ListMethods() {
  static constexpr BuiltinEntry kTable[] = {
      {"append", ListAppend}, {"clear", Refuse},        {"copy", ListCopy}, {"count", SequenceCount},
      {"extend", Refuse},     {"index", SequenceIndex}, {"insert", Refuse}, {"pop", Refuse},
      {"remove", Refuse},     {"reverse", Refuse},      {"sort", Refuse},
  };
  return kTable;
}

std::span<const BuiltinEntry> TupleMethods() {
  static constexpr BuiltinEntry kTable[] = {{"count", SequenceCount}, {"index", SequenceIndex}};
  return kTable;
}

std::span<const BuiltinEntry> DictMethods() {
  static constexpr BuiltinEntry kTable[] = {
      {"get", DictGet},
      {"items", DictView<ListRole::kItems>},
      {"keys", DictView<ListRole::kKeys>},
      {"values", DictView<ListRole::kValues>},
      {"copy", DictCopy},
      {"clear", Refuse},
      {"pop", Refuse},
      {"popitem", Refuse},
      {"setdefault", Refuse},
      {"update", Refuse},
  };
  return kTable;
}

}  // namespace lem::jinja
