#include "text/jinja/builtins.h"

#include <algorithm>

namespace lem::jinja {
namespace {

Builtin FindIn(std::span<const BuiltinEntry> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &BuiltinEntry::name);
  return found == table.end() ? nullptr : found->function;
}

Builtin FindInAny(std::initializer_list<std::span<const BuiltinEntry>> tables, std::string_view name) {
  for (const auto& table : tables) {
    if (const Builtin found = FindIn(table, name)) return found;
  }
  return nullptr;
}

}  // namespace

Builtin FindFilter(std::string_view name) {
  return FindInAny({TextFilters(), NumberFilters(), SequenceFilters(), SelectFilters()}, name);
}
Builtin FindTest(std::string_view name) { return FindIn(Tests(), name); }
Builtin FindFunction(std::string_view name) { return FindIn(Functions(), name); }

Builtin FindMethod(const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::kString:
      return FindInAny({StringMethods(), StringTestMethods()}, name);
    case Kind::kList:
      return FindIn(ListMethods(), name);
    case Kind::kTuple:
      return FindIn(TupleMethods(), name);
    case Kind::kDict:
      return FindIn(DictMethods(), name);
    case Kind::kLoop:
      return FindIn(LoopMethods(), name);
    case Kind::kCycler:
      return FindIn(CyclerMethods(), name);
    default:
      return nullptr;
  }
}

Status BindInto(std::string_view function, const Arguments& args, std::span<const std::string_view> names,
                size_t required, std::span<Value> out) {
  if (args.positional.size() > names.size()) {
    return InvalidArgument("{}() takes at most {} argument(s), got {}", function, names.size(), args.positional.size());
  }
  std::ranges::copy(args.positional, out.begin());
  for (const NamedArgument& named : args.named) {
    const auto found = std::ranges::find(names, named.name.text());
    if (found == names.end()) return InvalidArgument("{}() has no argument '{}'", function, named.name.text());
    Value& slot = out[static_cast<size_t>(found - names.begin())];
    if (!slot.is_missing()) return InvalidArgument("{}() got argument '{}' twice", function, named.name.text());
    slot = named.value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (out[i].is_missing()) return InvalidArgument("{}() needs the argument '{}'", function, names[i]);
  }
  return OkStatus();
}

Status NoArguments(std::string_view function, const Arguments& args) {
  if (args.positional.empty() && args.named.empty()) return OkStatus();
  return InvalidArgument("{}() takes no arguments", function);
}

Result<int64_t> TakeInt(const Value& value, std::string_view what) {
  if (value.is_undefined()) return InvalidArgument("{}", UndefinedMessage(value));
  if (!value.is_integral()) return InvalidArgument("{} must be an integer, not {}", what, TypeName(value));
  return value.as_int();
}

Result<int64_t> TakeIntOr(const Value& value, int64_t fallback, std::string_view what) {
  return value.is_missing() || value.is_none() ? Result<int64_t>(fallback) : TakeInt(value, what);
}

Result<const Str*> TakeString(const Value& value, std::string_view what) {
  if (value.is_undefined()) return InvalidArgument("{}", UndefinedMessage(value));
  if (!value.is_string()) return InvalidArgument("{} must be a string, not {}", what, TypeName(value));
  return &value.as_string();
}

bool TakeBoolOr(const Value& value, bool fallback) { return value.is_missing() ? fallback : IsTrue(value); }

}  // namespace lem::jinja
