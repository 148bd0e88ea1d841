// Expressions.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {

Result<Value> Interpreter::Eval(const Expr& expr, Frame* frame) {
  // The two leaves that make up most of every template take no level and no further call.
  if (expr.kind == ExprKind::kConst) return static_cast<const ConstExpr&>(expr).value;
  if (expr.kind == ExprKind::kName) return EvalName(static_cast<const NameExpr&>(expr), frame);
  Level level(*this);
  LEM_TRY(Step());
  return EvalInner(expr, frame);
}

Result<Value> Interpreter::EvalInner(const Expr& expr, Frame* frame) {
  switch (expr.kind) {
    case ExprKind::kConst:
      return static_cast<const ConstExpr&>(expr).value;
    case ExprKind::kName:
      return EvalName(static_cast<const NameExpr&>(expr), frame);
    case ExprKind::kTuple:
    case ExprKind::kList:
      return EvalItems(static_cast<const ItemsExpr&>(expr), frame);
    case ExprKind::kDict:
      return EvalDict(static_cast<const DictExpr&>(expr), frame);
    case ExprKind::kAttribute: {
      const auto& attribute = static_cast<const AttributeExpr&>(expr);
      LEM_ASSIGN_OR_RETURN(const Value object, Eval(*attribute.object, frame));
      return GetAttribute(object, attribute.name);
    }
    case ExprKind::kElement: {
      const auto& element = static_cast<const ElementExpr&>(expr);
      LEM_ASSIGN_OR_RETURN(const Value object, Eval(*element.object, frame));
      LEM_ASSIGN_OR_RETURN(const Value key, Eval(*element.index, frame));
      return GetElement(object, key);
    }
    case ExprKind::kSlice:
      return EvalSlice(static_cast<const SliceExpr&>(expr), frame);
    case ExprKind::kCall:
      return EvalCall(static_cast<const CallExpr&>(expr), frame, Value());
    case ExprKind::kFilter:
      return EvalFilter(static_cast<const FilterExpr&>(expr), frame, Value());
    case ExprKind::kTest:
      return EvalTest(static_cast<const TestExpr&>(expr), frame);
    case ExprKind::kUnary:
      return EvalUnary(static_cast<const UnaryExpr&>(expr), frame);
    case ExprKind::kBinary:
      return EvalBinary(static_cast<const BinaryExpr&>(expr), frame);
    case ExprKind::kConcat:
      return EvalConcat(static_cast<const ItemsExpr&>(expr), frame);
    case ExprKind::kLogic:
      return EvalLogic(static_cast<const LogicExpr&>(expr), frame);
    case ExprKind::kCompare:
      return EvalCompare(static_cast<const CompareExpr&>(expr), frame);
    case ExprKind::kConditional:
      return EvalConditional(static_cast<const ConditionalExpr&>(expr), frame);
  }
  return Internal("unknown expression");
}

Value Interpreter::EvalName(const NameExpr& expr, Frame* frame) {
  heap_.Spend(1);
  if (const Value* found = frame->Find(expr.symbol)) return *found;
  if (expr.symbol->global != nullptr) {
    auto* callable = heap_.New<Callable>();
    callable->name = expr.symbol->name;
    callable->function = expr.symbol->global;
    return Value::Of(callable);
  }
  return MakeUndefined(heap_, Value(), Value::String(TrustedStr(heap_, expr.symbol->name)));
}

Result<Value> Interpreter::EvalItems(const ItemsExpr& expr, Frame* frame) {
  List* out = NewList(heap_);
  for (const Expr* item : expr.items) {
    LEM_ASSIGN_OR_RETURN(const Value value, Eval(*item, frame));
    out->Push(heap_, value);
  }
  return Value::Of(expr.kind == ExprKind::kTuple ? Kind::kTuple : Kind::kList, out);
}

Result<Value> Interpreter::EvalDict(const DictExpr& expr, Frame* frame) {
  auto* out = heap_.New<Dict>();
  for (const auto& [key_expr, value_expr] : expr.entries) {
    LEM_ASSIGN_OR_RETURN(const Value key, Eval(*key_expr, frame));
    LEM_ASSIGN_OR_RETURN(const Value value, Eval(*value_expr, frame));
    if (!IsHashable(key)) return InvalidArgument("unhashable type: '{}'", TypeName(key));
    out->Set(heap_, key, value);
  }
  return Value::Of(Kind::kDict, out);
}

Result<Value> Interpreter::EvalSlice(const SliceExpr& expr, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(const Value object, Eval(*expr.object, frame));
  std::array<Value, 3> bounds;
  const std::array<const Expr*, 3> exprs = {expr.start, expr.stop, expr.step};
  for (size_t i = 0; i < bounds.size(); ++i) {
    if (exprs[i] == nullptr) continue;
    LEM_ASSIGN_OR_RETURN(bounds[i], Eval(*exprs[i], frame));
  }
  return SliceValue(heap_, object, bounds[0], bounds[1], bounds[2]);
}

Result<Interpreter::EvaluatedArgs> Interpreter::EvalArguments(const ArgExprs& args, Frame* frame) {
  EvaluatedArgs out;
  out.positional.reserve(args.positional.size());
  for (const Expr* expr : args.positional) {
    LEM_ASSIGN_OR_RETURN(const Value value, Eval(*expr, frame));
    out.positional.push_back(value);
  }
  for (const auto& [name, expr] : args.named) {
    LEM_ASSIGN_OR_RETURN(const Value value, Eval(*expr, frame));
    out.named.push_back({name, value});
  }
  if (args.spread != nullptr) {
    LEM_ASSIGN_OR_RETURN(const Value spread, Eval(*args.spread, frame));
    LEM_ASSIGN_OR_RETURN(const List* items, Items(heap_, spread));
    out.positional.insert(out.positional.end(), items->items, items->items + items->size);
  }
  if (args.spread_named != nullptr) {
    LEM_ASSIGN_OR_RETURN(const Value spread, Eval(*args.spread_named, frame));
    if (spread.kind() != Kind::kDict) return InvalidArgument("** needs a dict, not {}", TypeName(spread));
    for (const DictEntry& entry : spread.dict()->span()) {
      if (!entry.key.is_string()) return InvalidArgument("** needs a dict whose keys are strings");
      out.named.push_back({entry.key, entry.value});
    }
  }
  for (size_t i = 0; i < out.named.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      heap_.Spend(1);
      if (out.named[i].name.text() != out.named[j].name.text()) continue;
      return InvalidArgument("keyword argument '{}' is given twice", out.named[i].name.text());
    }
    if (heap_.exhausted()) return heap_.status();
  }
  return out;
}

Result<Value> Interpreter::EvalCall(const CallExpr& expr, Frame* frame, const Value& caller) {
  LEM_ASSIGN_OR_RETURN(const Value callee, Eval(*expr.callee, frame));
  LEM_ASSIGN_OR_RETURN(EvaluatedArgs args, EvalArguments(expr.args, frame));
  if (!caller.is_missing()) {
    args.named.push_back({Value::String(TrustedStr(heap_, source_.special().caller->name)), caller});
  }
  return Call(callee, args.view());
}

Result<Value> Interpreter::EvalFilter(const FilterExpr& expr, Frame* frame, const Value& block_input) {
  Value input = block_input;
  if (expr.input != nullptr && expr.input->kind == ExprKind::kFilter && !block_input.is_missing()) {
    // {% filter a|b %}: the innermost filter of the chain takes the block's text.
    Level level(*this);
    LEM_TRY(Step());
    LEM_ASSIGN_OR_RETURN(input, EvalFilter(static_cast<const FilterExpr&>(*expr.input), frame, block_input));
  } else if (expr.input != nullptr) {
    LEM_ASSIGN_OR_RETURN(input, Eval(*expr.input, frame));
  }
  if (expr.function == nullptr) return InvalidArgument("no filter named '{}'", expr.name);
  LEM_ASSIGN_OR_RETURN(const EvaluatedArgs args, EvalArguments(expr.args, frame));
  return expr.function(*this, input, args.view());
}

Result<Value> Interpreter::EvalTest(const TestExpr& expr, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(const Value input, Eval(*expr.input, frame));
  if (expr.function == nullptr) return InvalidArgument("no test named '{}'", expr.name);
  if (expr.args.positional.empty() && expr.args.named.empty() && expr.args.spread == nullptr &&
      expr.args.spread_named == nullptr) {
    return expr.function(*this, input, {});
  }
  LEM_ASSIGN_OR_RETURN(const EvaluatedArgs args, EvalArguments(expr.args, frame));
  return expr.function(*this, input, args.view());
}

Result<Value> Interpreter::EvalUnary(const UnaryExpr& expr, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(const Value value, Eval(*expr.operand, frame));
  if (expr.op == UnaryOp::kNot) return Value::Bool(!IsTrue(value));
  if (value.is_undefined()) return InvalidArgument("{}", UndefinedMessage(value));
  if (expr.op == UnaryOp::kNegative) return Negate(value);
  if (!value.is_number()) return InvalidArgument("bad operand type for unary +: '{}'", TypeName(value));
  return value.kind() == Kind::kBool ? Value::Int(value.as_int()) : value;
}

Result<Value> Interpreter::EvalBinary(const BinaryExpr& expr, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(Value left, Eval(*expr.first, frame));
  for (const auto& [op, operand] : expr.rest) {
    LEM_ASSIGN_OR_RETURN(const Value right, Eval(*operand, frame));
    LEM_ASSIGN_OR_RETURN(left, Binary(heap_, op, left, right));
    LEM_TRY(Step());
  }
  return left;
}

Result<Value> Interpreter::EvalConcat(const ItemsExpr& expr, Frame* frame) {
  TextBuilder out(heap_);
  for (const Expr* item : expr.items) {
    LEM_ASSIGN_OR_RETURN(const Value value, Eval(*item, frame));
    Print(out, value);
  }
  return out.Finish();
}

Result<Value> Interpreter::EvalLogic(const LogicExpr& expr, Frame* frame) {
  Value last;
  for (const Expr* operand : expr.operands) {
    LEM_ASSIGN_OR_RETURN(last, Eval(*operand, frame));
    if (IsTrue(last) != expr.is_and) return last;
  }
  return last;
}

Result<Value> Interpreter::EvalCompare(const CompareExpr& expr, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(Value left, Eval(*expr.first, frame));
  for (const auto& [op, operand] : expr.rest) {
    LEM_ASSIGN_OR_RETURN(const Value right, Eval(*operand, frame));
    Result<bool> holds = false;
    switch (op) {
      case CompareOp::kEqual:
        holds = Equal(heap_, left, right);
        break;
      case CompareOp::kNotEqual:
        holds = !Equal(heap_, left, right);
        break;
      case CompareOp::kLess:
        holds = Compare(heap_, Order::kLess, left, right);
        break;
      case CompareOp::kLessEqual:
        holds = Compare(heap_, Order::kLessEqual, left, right);
        break;
      case CompareOp::kGreater:
        holds = Compare(heap_, Order::kGreater, left, right);
        break;
      case CompareOp::kGreaterEqual:
        holds = Compare(heap_, Order::kGreaterEqual, left, right);
        break;
      case CompareOp::kIn:
        holds = ContainsValue(heap_, right, left);
        break;
      case CompareOp::kNotIn:
        holds = ContainsValue(heap_, right, left).map([](bool found) { return !found; });
        break;
    }
    LEM_ASSIGN_OR_RETURN(const bool value, std::move(holds));
    if (!value) return Value::Bool(false);
    left = right;
  }
  return Value::Bool(true);
}

Result<Value> Interpreter::EvalConditional(const ConditionalExpr& expr, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(const Value test, Eval(*expr.test, frame));
  if (IsTrue(test)) return Eval(*expr.yes, frame);
  if (expr.no != nullptr) return Eval(*expr.no, frame);
  return MakeUndefinedHint(heap_, "the inline if-expression evaluated to false and no else section was defined");
}

}  // namespace lem::jinja
