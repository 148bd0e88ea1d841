// Arithmetic, concatenation and `in`, with Python's results: floor division and modulo follow the divisor's sign.
#include <cmath>

#include "text/jinja/html.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/string_ops.h"

namespace lem::jinja {
namespace {

Status Overflow() { return InvalidArgument("the result of integer arithmetic does not fit 64 bits"); }

std::string_view Sign(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd:
      return "+";
    case BinaryOp::kSubtract:
      return "-";
    case BinaryOp::kMultiply:
      return "*";
    case BinaryOp::kDivide:
      return "/";
    case BinaryOp::kFloorDivide:
      return "//";
    case BinaryOp::kModulo:
      return "%";
    case BinaryOp::kPower:
      return "** or pow()";
  }
  return "+";
}

Status Unsupported(BinaryOp op, const Value& a, const Value& b) {
  return InvalidArgument("unsupported operand type(s) for {}: '{}' and '{}'", Sign(op), TypeName(a), TypeName(b));
}

int64_t FloorDiv(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Result<Value> PowerInt(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return InvalidArgument("0.0 cannot be raised to a negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  for (;;) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return Overflow();
    exponent >>= 1;
    if (exponent == 0) return Value::Int(result);
    if (__builtin_mul_overflow(base, base, &base)) return Overflow();
  }
}

Result<Value> BinaryInt(BinaryOp op, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &out)) return Overflow();
      return Value::Int(out);
    case BinaryOp::kSubtract:
      if (__builtin_sub_overflow(a, b, &out)) return Overflow();
      return Value::Int(out);
    case BinaryOp::kMultiply:
      if (__builtin_mul_overflow(a, b, &out)) return Overflow();
      return Value::Int(out);
    case BinaryOp::kDivide:
      if (b == 0) return InvalidArgument("division by zero");
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOp::kFloorDivide:
      if (b == 0) return InvalidArgument("integer division or modulo by zero");
      if (b == -1) return __builtin_sub_overflow(int64_t{0}, a, &out) ? Result<Value>(Overflow()) : Value::Int(out);
      return Value::Int(FloorDiv(a, b));
    case BinaryOp::kModulo:
      if (b == 0) return InvalidArgument("integer modulo by zero");
      if (b == -1) return Value::Int(0);
      return Value::Int(a - FloorDiv(a, b) * b);
    case BinaryOp::kPower:
      return PowerInt(a, b);
  }
  return Internal("unknown operator");
}

Result<Value> PowerFloat(double a, double b) {
  if (a == 0 && b < 0) return InvalidArgument("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && std::floor(b) != b) {
    return InvalidArgument("a negative number cannot be raised to a fractional power");
  }
  const double out = std::pow(a, b);
  if (std::isinf(out) && std::isfinite(a) && std::isfinite(b)) return InvalidArgument("the power is too large");
  return Value::Float(out);
}

Result<Value> BinaryFloat(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value::Float(a + b);
    case BinaryOp::kSubtract:
      return Value::Float(a - b);
    case BinaryOp::kMultiply:
      return Value::Float(a * b);
    case BinaryOp::kDivide:
      if (b == 0) return InvalidArgument("float division by zero");
      return Value::Float(a / b);
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo: {
      if (b == 0) return InvalidArgument("float floor division or modulo by zero");
      double mod = std::fmod(a, b);
      double div = (a - mod) / b;
      if (mod != 0) {
        if ((b < 0) != (mod < 0)) {
          mod += b;
          div -= 1;
        }
      } else {
        mod = std::copysign(0.0, b);
      }
      if (op == BinaryOp::kModulo) return Value::Float(mod);
      if (div == 0) return Value::Float(std::copysign(0.0, a / b));
      const double floored = std::floor(div);
      return Value::Float(div - floored > 0.5 ? floored + 1 : floored);
    }
    case BinaryOp::kPower:
      return PowerFloat(a, b);
  }
  return Internal("unknown operator");
}

Result<Value> BinaryNumber(BinaryOp op, const Value& a, const Value& b) {
  if (a.kind() == Kind::kFloat || b.kind() == Kind::kFloat) return BinaryFloat(op, AsDouble(a), AsDouble(b));
  if (a.kind() == Kind::kBigInt || b.kind() == Kind::kBigInt) return Overflow();
  return BinaryInt(op, a.as_int(), b.as_int());
}

// text * count and list * count.
Result<Value> Repeat(Heap& heap, const Value& value, int64_t count) {
  if (value.is_string()) {
    TextBuilder out(heap);
    out.AppendTimes(value.as_string(), count);
    return out.Finish();
  }
  List* out = NewList(heap);
  if (value.list()->size > 0) {
    for (int64_t i = 0; i < count && !heap.exhausted(); ++i) {
      for (const Value& item : value.list()->span()) out->Push(heap, item);
    }
  }
  return Value::Of(value.kind(), out);
}

Result<Value> AddStrings(Heap& heap, const Value& a, const Value& b) {
  TextBuilder out(heap);
  const bool markup = a.as_string().markup || b.as_string().markup;
  for (const Value& part : {a, b}) {
    if (markup && !part.as_string().markup) {
      AppendEscapedHtml(out, part.as_string());
    } else {
      out.Append(part.as_string());
    }
  }
  const Value text = out.Finish();
  return markup ? MarkAsMarkup(heap, text) : text;
}

Result<Value> AddLists(Heap& heap, const Value& a, const Value& b) {
  List* out = NewList(heap);
  for (const Value& item : a.list()->span()) out->Push(heap, item);
  for (const Value& item : b.list()->span()) out->Push(heap, item);
  return Value::Of(a.kind(), out);
}

}  // namespace

Result<Value> Binary(Heap& heap, BinaryOp op, const Value& a, const Value& b) {
  if (a.is_undefined()) return InvalidArgument("{}", UndefinedMessage(a));
  if (op == BinaryOp::kModulo && a.is_string()) return FormatPercent(heap, a.as_string(), b);
  if (b.is_undefined()) return InvalidArgument("{}", UndefinedMessage(b));
  if (a.is_number() && b.is_number()) {
    LEM_ASSIGN_OR_RETURN(const Value out, BinaryNumber(op, a, b));
    return out.WithTaint(a.tainted() || b.tainted());
  }
  if (op == BinaryOp::kAdd) {
    if (a.is_string() && b.is_string()) return AddStrings(heap, a, b);
    if (a.kind() == b.kind() && a.is_list_or_tuple()) return AddLists(heap, a, b);
    if (a.is_string()) return InvalidArgument("can only concatenate str (not \"{}\") to str", TypeName(b));
  }
  if (op == BinaryOp::kMultiply) {
    if ((a.is_string() || a.is_list_or_tuple()) && b.is_integral()) return Repeat(heap, a, b.as_int());
    if ((b.is_string() || b.is_list_or_tuple()) && a.is_integral()) return Repeat(heap, b, a.as_int());
  }
  return Unsupported(op, a, b);
}

Result<Value> Negate(const Value& value) {
  if (value.kind() == Kind::kFloat) return Value::Float(-value.as_float()).WithTaint(value.tainted());
  if (!value.is_integral()) return InvalidArgument("bad operand type for unary -: '{}'", TypeName(value));
  int64_t out = 0;
  if (__builtin_sub_overflow(int64_t{0}, value.as_int(), &out)) return Overflow();
  return Value::Int(out).WithTaint(value.tainted());
}

Result<bool> ContainsValue(Heap& heap, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString: {
      if (!item.is_string()) {
        return InvalidArgument("'in <string>' requires string as left operand, not {}", TypeName(item));
      }
      const std::string_view text = container.text();
      const std::string_view wanted = item.text();
      heap.SpendBytes(text.size());
      return FindText(text, wanted).has_value();
    }
    case Kind::kDict:
      if (!IsHashable(item)) return InvalidArgument("unhashable type: '{}'", TypeName(item));
      return container.dict()->Find(heap, item) != nullptr;
    case Kind::kRange: {
      if (!item.is_number() || item.kind() == Kind::kBigInt) return false;
      const Range& range = *container.as<Range>();
      const double wanted = AsDouble(item);
      if (range.size == 0 || std::floor(wanted) != wanted || std::abs(wanted) > 0x1p62) return false;
      const int64_t distance = static_cast<int64_t>(wanted) - range.start;
      return distance % range.step == 0 && distance / range.step >= 0 &&
             static_cast<size_t>(distance / range.step) < range.size;
    }
    default:
      break;
  }
  const bool can_walk = container.is_list_or_tuple() || container.is_undefined() || container.kind() == Kind::kView ||
                        container.kind() == Kind::kGenerator;
  if (!can_walk) return InvalidArgument("argument of type '{}' is not iterable", TypeName(container));
  LEM_ASSIGN_OR_RETURN(const List* items, Items(heap, container));
  for (const Value& candidate : items->span()) {
    // Like Python, an object is equal to itself before anything is compared (NaN in a list).
    if (Equal(heap, candidate, item)) return true;
  }
  return false;
}

}  // namespace lem::jinja
