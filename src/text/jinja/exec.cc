// Statements, macros and loops.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"

namespace lem::jinja {

const Value* Frame::Find(const Symbol* symbol) const {
  for (const Frame* frame = this; frame != nullptr; frame = frame->parent) {
    for (size_t i = 0; i < frame->size; ++i) {
      if (frame->variables[i].symbol == symbol) return &frame->variables[i].value;
    }
  }
  return nullptr;
}

void Frame::Set(Heap& heap, const Symbol* symbol, Value value) {
  for (size_t i = 0; i < size; ++i) {
    if (variables[i].symbol == symbol) {
      variables[i].value = value;
      return;
    }
  }
  if (size == capacity) {
    const size_t new_capacity = std::max<size_t>(4, capacity * 2);
    auto* grown = heap.NewArray<Variable>(new_capacity);
    if (grown == nullptr) return;
    if (size > 0) std::copy_n(variables, size, grown);
    variables = grown;
    capacity = new_capacity;
  }
  variables[size++] = {symbol, value};
}

Interpreter::Interpreter(const Template& source, const RenderLimits& limits, int64_t now_unix_s)
    : source_(source), heap_(limits), now_unix_s_(now_unix_s), root_(heap_.New<Frame>()) {}

void Interpreter::SetVariable(std::string_view name, Value value) {
  if (const Symbol* symbol = source_.FindSymbol(name)) root_->Set(heap_, symbol, value);
}

Status Interpreter::Run(TextBuilder& out) {
  out_ = &out;
  has_line_ = false;
  LEM_TRY(Exec(source_.body(), root_));
  return heap_.status();
}

Status Interpreter::Raise(std::string text) {
  has_line_ = true;
  return Status(StatusCode::kInvalidArgument, std::move(text));
}

Status Interpreter::Step() {
  heap_.Spend(1);
  if (heap_.exhausted()) return heap_.status();
  if (depth_ > heap_.limits().max_depth) {
    return ResourceExhausted("calls nested deeper than {} levels", heap_.limits().max_depth);
  }
  return OkStatus();
}

Status Interpreter::AddLine(Status status, int line) {
  if (status.ok() || has_line_) return status;
  has_line_ = true;
  return std::move(status).WithContext(fmt::format("chat template, line {}", line));
}

Status Interpreter::Exec(const Body& body, Frame* frame) {
  Level level(*this);
  for (const Statement* statement : body) {
    Status status = Step();
    if (status.ok()) status = ExecOne(*statement, frame);
    if (!status.ok()) return AddLine(std::move(status), statement->line);
    if (flow_ != Flow::kNext) break;
  }
  return OkStatus();
}

Status Interpreter::ExecOne(const Statement& statement, Frame* frame) {
  switch (statement.kind) {
    case StatementKind::kText:
      out_->Append(*static_cast<const TextStatement&>(statement).text);
      return OkStatus();
    case StatementKind::kPrint:
      return ExecPrint(static_cast<const PrintStatement&>(statement), frame);
    case StatementKind::kIf:
      return ExecIf(static_cast<const IfStatement&>(statement), frame);
    case StatementKind::kFor: {
      const auto& loop = static_cast<const ForStatement&>(statement);
      LEM_ASSIGN_OR_RETURN(const Value items, Eval(*loop.items, frame));
      return ExecFor(loop, frame, items, 0);
    }
    case StatementKind::kSet:
      return ExecSet(static_cast<const SetStatement&>(statement), frame);
    case StatementKind::kSetBlock:
      return ExecSetBlock(static_cast<const SetBlockStatement&>(statement), frame);
    case StatementKind::kWith:
      return ExecWith(static_cast<const WithStatement&>(statement), frame);
    case StatementKind::kMacro:
      return ExecMacro(static_cast<const MacroStatement&>(statement), frame);
    case StatementKind::kCallBlock:
      return ExecCallBlock(static_cast<const CallBlockStatement&>(statement), frame);
    case StatementKind::kFilterBlock:
      return ExecFilterBlock(static_cast<const FilterBlockStatement&>(statement), frame);
    case StatementKind::kScope:
      return Exec(static_cast<const ScopeStatement&>(statement).body, NewFrame(frame));
    case StatementKind::kBreak:
      flow_ = Flow::kBreak;
      return OkStatus();
    case StatementKind::kContinue:
      flow_ = Flow::kContinue;
      return OkStatus();
  }
  return Internal("unknown statement");
}

Status Interpreter::ExecPrint(const PrintStatement& statement, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(const Value value, Eval(*statement.value, frame));
  Print(*out_, value);
  return OkStatus();
}

Status Interpreter::ExecIf(const IfStatement& statement, Frame* frame) {
  for (const auto& [test, body] : statement.branches) {
    LEM_ASSIGN_OR_RETURN(const Value value, Eval(*test, frame));
    if (IsTrue(value)) return Exec(body, frame);
  }
  return Exec(statement.else_body, frame);
}

Status Interpreter::TakeItems(LoopState& loop, size_t count) {
  while (loop.items->size < count && !loop.waiting.empty()) {
    LEM_TRY(Step());
    const Value item = loop.waiting.front();
    loop.waiting = loop.waiting.subspan(1);
    Frame* inner = NewFrame(loop.frame);
    LEM_TRY(Assign(loop.conditional->target, item, inner));
    LEM_ASSIGN_OR_RETURN(const Value keep, Eval(*loop.conditional->filter, inner));
    if (IsTrue(keep)) loop.items->Push(heap_, item);
  }
  return OkStatus();
}

Status Interpreter::ExecFor(const ForStatement& statement, Frame* frame, const Value& items, int loop_depth) {
  Level level(*this);
  LEM_TRY(Step());
  LEM_ASSIGN_OR_RETURN(const List* all, Items(heap_, items));
  auto* state = heap_.New<LoopState>();
  if (statement.filter == nullptr) {
    // A copy of the handle: a template that appends to the list while it walks it does not walk for ever.
    state->items = heap_.New<List>(*all);
  } else {
    state->items = NewList(heap_);
    state->conditional = &statement;
    state->waiting = all->span();
  }
  state->depth = loop_depth;
  state->recursive = statement.recursive ? &statement : nullptr;
  state->frame = frame;
  // As in Jinja, `else` follows unless an iteration came to its end.
  bool completed_one = false;
  for (size_t i = 0;; ++i) {
    LEM_TRY(TakeItems(*state, i + 1));
    if (i >= state->items->size) break;
    LEM_TRY(Step());
    state->index = i;
    Frame* inner = NewFrame(frame);
    inner->Set(heap_, source_.special().loop, Value::Of(state));
    LEM_TRY(Assign(statement.target, state->items->items[i], inner));
    LEM_TRY(Exec(statement.body, inner));
    const Flow flow = std::exchange(flow_, Flow::kNext);
    if (flow == Flow::kBreak) break;
    completed_one |= flow == Flow::kNext;
  }
  return completed_one ? OkStatus() : Exec(statement.else_body, NewFrame(frame));
}

Status Interpreter::Assign(const Target& target, const Value& value, Frame* frame) {
  if (!target.is_tuple) {
    if (target.attribute.is_missing()) {
      frame->Set(heap_, target.symbol, value);
      return OkStatus();
    }
    const Value* object = frame->Find(target.symbol);
    if (object == nullptr) return InvalidArgument("'{}' is undefined", target.symbol->name);
    if (object->kind() != Kind::kNamespace) {
      return InvalidArgument("cannot assign attribute '{}' of '{}': it is of type {}, not a namespace",
                             target.attribute.text(), target.symbol->name, TypeName(*object));
    }
    object->dict()->Set(heap_, target.attribute, value);
    return OkStatus();
  }
  LEM_ASSIGN_OR_RETURN(const List* items, Items(heap_, value));
  if (items->size != target.parts.size()) {
    return InvalidArgument("cannot unpack {} values into {} names", items->size, target.parts.size());
  }
  for (size_t i = 0; i < items->size; ++i) LEM_TRY(Assign(target.parts[i], items->items[i], frame));
  return OkStatus();
}

Status Interpreter::ExecSet(const SetStatement& statement, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(const Value value, Eval(*statement.value, frame));
  return Assign(statement.target, value, frame);
}

Result<Value> Interpreter::Capture(const Body& body, Frame* frame) {
  TextBuilder text(heap_);
  TextBuilder* outer = std::exchange(out_, &text);
  Status status = Exec(body, frame);
  out_ = outer;
  LEM_TRY(std::move(status));
  return text.Finish();
}

Status Interpreter::ExecSetBlock(const SetBlockStatement& statement, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(Value value, Capture(statement.body, NewFrame(frame)));
  if (statement.filter != nullptr) {
    LEM_ASSIGN_OR_RETURN(value, EvalFilter(static_cast<const FilterExpr&>(*statement.filter), frame, value));
  }
  return Assign(statement.target, value, frame);
}

Status Interpreter::ExecWith(const WithStatement& statement, Frame* frame) {
  Frame* inner = NewFrame(frame);
  for (const auto& [target, expr] : statement.variables) {
    LEM_ASSIGN_OR_RETURN(const Value value, Eval(*expr, frame));
    LEM_TRY(Assign(target, value, inner));
  }
  return Exec(statement.body, inner);
}

Status Interpreter::ExecFilterBlock(const FilterBlockStatement& statement, Frame* frame) {
  Frame* inner = NewFrame(frame);
  LEM_ASSIGN_OR_RETURN(const Value body, Capture(statement.body, inner));
  LEM_ASSIGN_OR_RETURN(const Value value, EvalFilter(static_cast<const FilterExpr&>(*statement.filter), inner, body));
  if (!value.is_string())
    return InvalidArgument("the filters of a filter block must end with a text, not {}", TypeName(value));
  out_->Append(value.as_string());
  return OkStatus();
}

Value Interpreter::MakeMacro(const Macro& macro, Frame* frame) {
  auto* callable = heap_.New<Callable>();
  callable->name = macro.name;
  callable->macro = &macro;
  callable->frame = frame;
  return Value::Of(callable);
}

Status Interpreter::ExecMacro(const MacroStatement& statement, Frame* frame) {
  frame->Set(heap_, statement.symbol, MakeMacro(statement.macro, frame));
  return OkStatus();
}

Status Interpreter::ExecCallBlock(const CallBlockStatement& statement, Frame* frame) {
  LEM_ASSIGN_OR_RETURN(const Value value, EvalCall(*statement.call, frame, MakeMacro(statement.caller, frame)));
  Print(*out_, value);
  return OkStatus();
}

Result<Value> Interpreter::Call(const Value& callee, const Arguments& args) {
  if (callee.is_undefined()) return InvalidArgument("{}", UndefinedMessage(callee));
  if (callee.kind() == Kind::kJoiner) {
    LEM_TRY(NoArguments("joiner", args));
    auto* joiner = callee.as<Joiner>();
    return std::exchange(joiner->used, true) ? joiner->separator : MakeString(heap_, "");
  }
  Level level(*this);
  LEM_TRY(Step());
  if (callee.kind() == Kind::kLoop) {
    auto* state = callee.as<LoopState>();
    if (state->recursive == nullptr) return InvalidArgument("loop(...) needs a loop marked 'recursive'");
    LEM_ASSIGN_OR_RETURN(const auto bound, (Bind<1>("loop", args, {"iterable"}, 1)));
    TextBuilder text(heap_);
    TextBuilder* outer = std::exchange(out_, &text);
    Status status = ExecFor(*state->recursive, state->frame, bound[0], state->depth + 1);
    out_ = outer;
    LEM_TRY(std::move(status));
    return text.Finish();
  }
  if (callee.kind() != Kind::kCallable) return InvalidArgument("'{}' object is not callable", TypeName(callee));
  const Callable& callable = *callee.as<Callable>();
  return callable.macro != nullptr ? CallMacro(callable, args) : callable.function(*this, callable.self, args);
}

Result<Value> Interpreter::CallMacro(const Callable& callable, const Arguments& args) {
  Frame* frame = NewFrame(callable.frame);
  LEM_TRY(BindMacro(callable, args, frame));
  const Flow outer_flow = std::exchange(flow_, Flow::kNext);
  Result<Value> out = Capture(callable.macro->body, frame);
  flow_ = outer_flow;
  return out;
}

Status Interpreter::BindMacro(const Callable& callable, const Arguments& args, Frame* frame) {
  const Macro& macro = *callable.macro;
  std::vector<bool> used(args.named.size(), false);
  std::vector<Value> values(macro.parameters.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (i < args.positional.size()) {
      values[i] = args.positional[i];
      continue;
    }
    for (size_t n = 0; n < args.named.size(); ++n) {
      if (args.named[n].name.text() != macro.parameters[i].symbol->name) continue;
      values[i] = args.named[n].value;
      used[n] = true;
    }
  }
  LEM_TRY(BindSurplus(macro, args, used, frame));
  for (size_t i = 0; i < values.size(); ++i) {
    const MacroParameter& parameter = macro.parameters[i];
    if (values[i].is_missing()) {
      if (parameter.default_value != nullptr) {
        LEM_ASSIGN_OR_RETURN(values[i], Eval(*parameter.default_value, frame));
      } else {
        values[i] = MakeUndefinedHint(
            heap_, heap_.Keep(fmt::format("parameter '{}' was not provided", parameter.symbol->name)));
      }
    }
    frame->Set(heap_, parameter.symbol, values[i]);
  }
  return OkStatus();
}

// Arguments that no parameter takes: caller, kwargs and varargs if the macro reads them, else an error.
Status Interpreter::BindSurplus(const Macro& macro, const Arguments& args, std::vector<bool>& used, Frame* frame) {
  const SpecialSymbols& special = source_.special();
  const bool caller_is_parameter =
      std::ranges::any_of(macro.parameters, [&](const MacroParameter& p) { return p.symbol == special.caller; });
  if (macro.uses_caller && !caller_is_parameter) {
    Value caller = MakeUndefinedHint(heap_, "No caller defined");
    for (size_t n = 0; n < args.named.size(); ++n) {
      if (used[n] || args.named[n].name.text() != special.caller->name) continue;
      caller = args.named[n].value;
      used[n] = true;
    }
    frame->Set(heap_, special.caller, caller);
  }
  auto* kwargs = heap_.New<Dict>();
  for (size_t n = 0; n < args.named.size(); ++n) {
    if (used[n]) continue;
    if (!macro.uses_kwargs) {
      return InvalidArgument("macro '{}' takes no keyword argument '{}'", macro.name, args.named[n].name.text());
    }
    kwargs->Set(heap_, args.named[n].name, args.named[n].value);
  }
  if (macro.uses_kwargs) frame->Set(heap_, special.kwargs, Value::Of(Kind::kDict, kwargs));
  const size_t taken = std::min(args.positional.size(), macro.parameters.size());
  if (macro.uses_varargs) {
    frame->Set(heap_, special.varargs, MakeTuple(heap_, args.positional.subspan(taken)));
  } else if (args.positional.size() > taken) {
    return InvalidArgument("macro '{}' takes not more than {} argument(s), got {}", macro.name, macro.parameters.size(),
                           args.positional.size());
  }
  return OkStatus();
}

}  // namespace lem::jinja
