// Filters that take another filter, a test or an attribute by name: map, select, reject, default, attr.
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/sequence_ops.h"

namespace lem::jinja {
namespace {

Result<Value> FilterDefault(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<2>("default", args, {"default_value", "boolean"})));
  const bool replace = self.is_undefined() || (TakeBoolOr(bound[1], false) && !IsTrue(self));
  if (!replace) return self;
  return bound[0].is_missing() ? MakeString(in.heap(), "") : bound[0];
}

Result<Value> FilterAttr(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("attr", args, {"name"}, 1)));
  LEM_ASSIGN_OR_RETURN(const Str* name, TakeString(bound[0], "attr(name)"));
  if (self.is_undefined()) return InvalidArgument("{}", UndefinedMessage(self));
  LEM_ASSIGN_OR_RETURN(const Value found, in.FindAttribute(self, name->text));
  return found.is_missing() ? MakeUndefined(in.heap(), self, bound[0]) : found;
}

// map(attribute='a.b', default=x)
Result<Value> MapAttribute(Interpreter& in, const Value& self, const Arguments& args) {
  Value attribute;
  Value fallback;
  for (const NamedArgument& named : args.named) {
    if (named.name.text() == "attribute") {
      attribute = named.value;
    } else if (named.name.text() == "default") {
      fallback = named.value.is_none() ? Value() : named.value;
    } else {
      return InvalidArgument("map() has no argument '{}'", named.name.text());
    }
  }
  if (attribute.is_missing()) return InvalidArgument("map requires a filter argument");
  LEM_ASSIGN_OR_RETURN(const AttributeGetter getter,
                       AttributeGetter::Make(in.heap(), attribute, Case::kSensitive, fallback));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
  List* out = NewList(in.heap());
  for (const Value& item : items->span()) {
    LEM_ASSIGN_OR_RETURN(const Value value, getter.Get(in, item));
    out->Push(in.heap(), value);
  }
  return Value::Of(Kind::kGenerator, out);
}

Result<Value> FilterMap(Interpreter& in, const Value& self, const Arguments& args) {
  if (!IsTrue(self)) return Value::Of(Kind::kGenerator, NewList(in.heap()));
  if (args.positional.empty()) return MapAttribute(in, self, args);
  LEM_ASSIGN_OR_RETURN(const Str* name, TakeString(args.positional[0], "the filter of map()"));
  const Builtin filter = FindFilter(name->text);
  if (filter == nullptr) return InvalidArgument("no filter named '{}'", name->text);
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
  List* out = NewList(in.heap());
  for (const Value& item : items->span()) {
    LEM_ASSIGN_OR_RETURN(const Value value, filter(in, item, {args.positional.subspan(1), args.named}));
    if (in.heap().exhausted()) break;
    out->Push(in.heap(), value);
  }
  return Value::Of(Kind::kGenerator, out);
}

enum class Keep : uint8_t { kPassing, kFailing };

// The items for which the test named by the first of `args` (or else truth) holds, or does not.
Result<Value> Select(Interpreter& in, const List& items, const AttributeGetter& getter, const Arguments& args,
                     Keep keep) {
  Builtin test = nullptr;
  Arguments test_args = args;
  if (!args.positional.empty()) {
    LEM_ASSIGN_OR_RETURN(const Str* name, TakeString(args.positional[0], "the name of a test"));
    test = FindTest(name->text);
    if (test == nullptr) return InvalidArgument("no test named '{}'", name->text);
    test_args.positional = args.positional.subspan(1);
  } else if (!args.named.empty()) {
    return InvalidArgument("select needs the name of a test before keyword arguments");
  }
  List* out = NewList(in.heap());
  for (const Value& item : items.span()) {
    LEM_ASSIGN_OR_RETURN(Value value, getter.Get(in, item));
    if (test != nullptr) {
      LEM_ASSIGN_OR_RETURN(value, test(in, value, test_args));
    }
    if (in.heap().exhausted()) break;
    if (IsTrue(value) == (keep == Keep::kPassing)) out->Push(in.heap(), item);
  }
  return Value::Of(Kind::kGenerator, out);
}

template <Keep keep>
Result<Value> FilterSelect(Interpreter& in, const Value& self, const Arguments& args) {
  if (!IsTrue(self)) return Value::Of(Kind::kGenerator, NewList(in.heap()));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
  return Select(in, *items, AttributeGetter(), args, keep);
}

template <Keep keep>
Result<Value> FilterSelectAttr(Interpreter& in, const Value& self, const Arguments& args) {
  if (!IsTrue(self)) return Value::Of(Kind::kGenerator, NewList(in.heap()));
  if (args.positional.empty()) return InvalidArgument("missing parameter for attribute name");
  LEM_ASSIGN_OR_RETURN(const AttributeGetter getter,
                       AttributeGetter::Make(in.heap(), args.positional[0], Case::kSensitive));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(in.heap(), self));
  return Select(in, *items, getter, {args.positional.subspan(1), args.named}, keep);
}

}  // namespace

std::span<const BuiltinEntry> SelectFilters() {
  static constexpr BuiltinEntry kTable[] = {
      {"attr", FilterAttr},
      {"d", FilterDefault},
      {"default", FilterDefault},
      {"map", FilterMap},
      {"reject", FilterSelect<Keep::kFailing>},
      {"rejectattr", FilterSelectAttr<Keep::kFailing>},
      {"select", FilterSelect<Keep::kPassing>},
      {"selectattr", FilterSelectAttr<Keep::kPassing>},
  };
  return kTable;
}

}  // namespace lem::jinja
