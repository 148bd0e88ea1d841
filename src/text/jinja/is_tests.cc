// The tests of `is`: defined, string, mapping, divisibleby, ...
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

// A test without arguments from a predicate.
template <bool (*predicate)(const Value&)>
Result<Value> Test(Interpreter&, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("test", args));
  return Value::Bool(predicate(self));
}

bool IsDefined(const Value& v) { return !v.is_undefined(); }
bool IsUndefined(const Value& v) { return v.is_undefined(); }
bool IsNone(const Value& v) { return v.is_none(); }
bool IsBoolean(const Value& v) { return v.kind() == Kind::kBool; }
bool IsTrueValue(const Value& v) { return v.kind() == Kind::kBool && v.as_bool(); }
bool IsFalseValue(const Value& v) { return v.kind() == Kind::kBool && !v.as_bool(); }
bool IsInteger(const Value& v) { return v.kind() == Kind::kInt || v.kind() == Kind::kBigInt; }
bool IsFloat(const Value& v) { return v.kind() == Kind::kFloat; }
bool IsNumber(const Value& v) { return v.is_number(); }
bool IsString(const Value& v) { return v.is_string(); }
bool IsMapping(const Value& v) { return v.kind() == Kind::kDict; }
bool IsEscaped(const Value& v) { return v.is_string() && v.as_string().markup; }
bool IsSequence(const Value& v) {
  return v.is_string() || v.is_list_or_tuple() || v.kind() == Kind::kDict || v.kind() == Kind::kRange ||
         v.is_undefined();
}
bool IsIterable(const Value& v) {
  return IsSequence(v) || v.kind() == Kind::kView || v.kind() == Kind::kGenerator || v.kind() == Kind::kLoop;
}
bool IsCallable(const Value& v) {
  return v.kind() == Kind::kCallable || v.kind() == Kind::kJoiner || v.kind() == Kind::kLoop || v.is_undefined();
}

// True if the text has a cased letter and all its cased letters fit.
Result<Value> TestCase(Interpreter& in, const Value& self, bool (*fits)(char32_t)) {
  const std::string_view text = ToStr(in.heap(), self).text;
  in.heap().SpendBytes(text.size());
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = DecodeAt(text, pos);
    if (IsCased(c.code)) {
      if (!fits(c.code)) return Value::Bool(false);
      any = true;
    }
    pos += c.size;
  }
  return Value::Bool(any);
}
Result<Value> TestLower(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("lower", args));
  return TestCase(in, self, IsLower);
}
Result<Value> TestUpper(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("upper", args));
  return TestCase(in, self, IsUpper);
}

// self % divisor == rest
Result<Value> HasRemainder(Interpreter& in, const Value& self, const Value& divisor, int64_t rest) {
  LEM_ASSIGN_OR_RETURN(const Value remainder, Binary(in.heap(), BinaryOp::kModulo, self, divisor));
  return Value::Bool(Equal(in.heap(), remainder, Value::Int(rest)));
}
Result<Value> TestOdd(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("odd", args));
  return HasRemainder(in, self, Value::Int(2), 1);
}
Result<Value> TestEven(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("even", args));
  return HasRemainder(in, self, Value::Int(2), 0);
}
Result<Value> TestDivisibleBy(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("divisibleby", args, {"num"}, 1)));
  return HasRemainder(in, self, bound[0], 0);
}

Result<Value> TestEqual(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("eq", args, {"other"}, 1)));
  return Value::Bool(Equal(in.heap(), self, bound[0]));
}
Result<Value> TestNotEqual(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("ne", args, {"other"}, 1)));
  return Value::Bool(!Equal(in.heap(), self, bound[0]));
}
template <Order order>
Result<Value> TestOrder(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("comparison", args, {"other"}, 1)));
  LEM_ASSIGN_OR_RETURN(const bool holds, Compare(in.heap(), order, self, bound[0]));
  return Value::Bool(holds);
}
Result<Value> TestIn(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("in", args, {"seq"}, 1)));
  LEM_ASSIGN_OR_RETURN(const bool found, ContainsValue(in.heap(), bound[0], self));
  return Value::Bool(found);
}
Result<Value> TestSameAs(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("sameas", args, {"other"}, 1)));
  if (self.kind() != bound[0].kind()) return Value::Bool(false);
  // Python shares small integers and equal strings of the source, so equal is the best answer for them.
  const bool by_value = self.is_number() || self.is_string() || self.is_none();
  return Value::Bool(by_value ? Equal(in.heap(), self, bound[0]) : self.identity() == bound[0].identity());
}

template <Builtin (*find)(std::string_view)>
Result<Value> TestExists(Interpreter&, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("test", args));
  return Value::Bool(self.is_string() && find(self.text()) != nullptr);
}

}  // namespace

std::span<const BuiltinEntry> Tests() {
  static constexpr BuiltinEntry kTable[] = {
      {"defined", Test<IsDefined>},
      {"undefined", Test<IsUndefined>},
      {"none", Test<IsNone>},
      {"boolean", Test<IsBoolean>},
      {"true", Test<IsTrueValue>},
      {"false", Test<IsFalseValue>},
      {"integer", Test<IsInteger>},
      {"float", Test<IsFloat>},
      {"number", Test<IsNumber>},
      {"string", Test<IsString>},
      {"mapping", Test<IsMapping>},
      {"sequence", Test<IsSequence>},
      {"iterable", Test<IsIterable>},
      {"callable", Test<IsCallable>},
      {"escaped", Test<IsEscaped>},
      {"lower", TestLower},
      {"upper", TestUpper},
      {"odd", TestOdd},
      {"even", TestEven},
      {"divisibleby", TestDivisibleBy},
      {"sameas", TestSameAs},
      {"in", TestIn},
      {"filter", TestExists<FindFilter>},
      {"test", TestExists<FindTest>},
      {"==", TestEqual},
      {"eq", TestEqual},
      {"equalto", TestEqual},
      {"!=", TestNotEqual},
      {"ne", TestNotEqual},
      {"<", TestOrder<Order::kLess>},
      {"lt", TestOrder<Order::kLess>},
      {"lessthan", TestOrder<Order::kLess>},
      {"<=", TestOrder<Order::kLessEqual>},
      {"le", TestOrder<Order::kLessEqual>},
      {">", TestOrder<Order::kGreater>},
      {"gt", TestOrder<Order::kGreater>},
      {"greaterthan", TestOrder<Order::kGreater>},
      {">=", TestOrder<Order::kGreaterEqual>},
      {"ge", TestOrder<Order::kGreaterEqual>},
  };
  return kTable;
}

}  // namespace lem::jinja
