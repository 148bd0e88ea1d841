// The filters, tests, functions and methods that templates may use, and what they share: argument binding and
// conversions. A builtin that is not in these tables does not exist: there is no reflection.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace lem::jinja {

struct NamedArgument {
  Value name;  // a string
  Value value;
};
struct Arguments {
  std::span<const Value> positional;
  std::span<const NamedArgument> named;
};

struct BuiltinEntry {
  std::string_view name;
  Builtin function;
};

// nullptr if there is none of that name.
Builtin FindFilter(std::string_view name);
Builtin FindTest(std::string_view name);
Builtin FindFunction(std::string_view name);
Builtin FindMethod(const Value& object, std::string_view name);

// One table for each file of builtins; the Find functions look through them.
std::span<const BuiltinEntry> TextFilters();
std::span<const BuiltinEntry> NumberFilters();
std::span<const BuiltinEntry> SequenceFilters();
std::span<const BuiltinEntry> SelectFilters();
std::span<const BuiltinEntry> Tests();
std::span<const BuiltinEntry> Functions();
std::span<const BuiltinEntry> StringMethods();
std::span<const BuiltinEntry> StringTestMethods();
std::span<const BuiltinEntry> ListMethods();
std::span<const BuiltinEntry> TupleMethods();
std::span<const BuiltinEntry> DictMethods();
std::span<const BuiltinEntry> LoopMethods();
std::span<const BuiltinEntry> CyclerMethods();

// Puts positional and named arguments in the order of `names`, into `out`; absent ones stay missing. Errors:
// InvalidArgument for too many, unknown, doubled, or fewer than the first `required` arguments.
Status BindInto(std::string_view function, const Arguments& args, std::span<const std::string_view> names,
                size_t required, std::span<Value> out);
template <size_t N>
Result<std::array<Value, N>> Bind(std::string_view function, const Arguments& args,
                                  const std::array<std::string_view, N>& names, size_t required = 0) {
  std::array<Value, N> out;
  LEM_TRY(BindInto(function, args, names, required, out));
  return out;
}
// Errors: InvalidArgument if there are any arguments.
Status NoArguments(std::string_view function, const Arguments& args);

// The integer (or bool) in `value`; `what` names it in the error.
Result<int64_t> TakeInt(const Value& value, std::string_view what);
Result<int64_t> TakeIntOr(const Value& value, int64_t fallback, std::string_view what);
Result<const Str*> TakeString(const Value& value, std::string_view what);
bool TakeBoolOr(const Value& value, bool fallback);

}  // namespace lem::jinja
