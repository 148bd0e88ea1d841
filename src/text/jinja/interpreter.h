// Evaluates a Template. One object renders once; it owns every value of that render. Not thread-safe, but many
// interpreters may share a Template. Errors carry the template's line.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/heap.h"
#include "text/jinja/text.h"
#include "text/jinja/value.h"

namespace lem::jinja {

// Variables of one scope; a name that is not here is looked up in the parent.
struct Frame {
  struct Variable {
    const Symbol* symbol = nullptr;
    Value value;
  };

  Frame* parent = nullptr;
  Variable* variables = nullptr;
  size_t size = 0;
  size_t capacity = 0;

  const Value* Find(const Symbol* symbol) const;
  void Set(Heap& heap, const Symbol* symbol, Value value);
};

// A builtin, a method bound to its object, or a macro.
struct Callable {
  std::string_view name;
  Builtin function = nullptr;
  Value self;
  const Macro* macro = nullptr;
  Frame* frame = nullptr;  // where the macro was defined
};

// What `loop` is in the body of a `for`. A loop with a condition takes its items one by one, because the body may
// change what the condition says; it looks ahead only when asked for what comes next.
struct LoopState {
  List* items = nullptr;  // those taken so far
  size_t index = 0;
  const ForStatement* conditional = nullptr;
  std::span<const Value> waiting;  // conditional: not yet looked at
  int depth = 0;
  Value last_changed;
  const ForStatement* recursive = nullptr;
  Frame* frame = nullptr;
};

class Interpreter {
 public:
  // `now_unix_s` is what strftime_now shows, as local time. REQUIRES: `source` outlives the interpreter.
  Interpreter(const Template& source, const RenderLimits& limits, int64_t now_unix_s);

  Heap& heap() { return heap_; }
  int64_t now_unix_s() const { return now_unix_s_; }
  // Defines a variable of the outermost scope; names that the template does not use are dropped.
  void SetVariable(std::string_view name, Value value);
  // Renders once. Errors: InvalidArgument (the template's own raise_exception, wrong types), ResourceExhausted.
  Status Run(TextBuilder& out);

  // For builtins.
  Result<Value> Call(const Value& callee, const Arguments& args);
  // object.name and object[key]; undefined if there is no such thing.
  Result<Value> GetAttribute(const Value& object, const Value& name);
  Result<Value> GetElement(const Value& object, const Value& key);
  // Only methods and the attributes of namespaces, loops and the like, never dict keys. Missing if there is none.
  Result<Value> FindAttribute(const Value& object, std::string_view name);
  // The error of raise_exception: its text alone, without a line.
  Status Raise(std::string text);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  struct EvaluatedArgs {
    std::vector<Value> positional;
    std::vector<NamedArgument> named;
    Arguments view() const { return {positional, named}; }
  };
  // Counts one level of evaluation for as long as it lives.
  class Level {
   public:
    explicit Level(Interpreter& interpreter) : interpreter_(interpreter) { ++interpreter_.depth_; }
    ~Level() { --interpreter_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Interpreter& interpreter_;
  };
  Status Step();

  // Statements: exec.cc.
  Status Exec(const Body& body, Frame* frame);
  Status ExecOne(const Statement& statement, Frame* frame);
  Status ExecPrint(const PrintStatement& statement, Frame* frame);
  Status ExecIf(const IfStatement& statement, Frame* frame);
  Status ExecFor(const ForStatement& statement, Frame* frame, const Value& items, int loop_depth);
  Status ExecSet(const SetStatement& statement, Frame* frame);
  Status ExecSetBlock(const SetBlockStatement& statement, Frame* frame);
  Status ExecWith(const WithStatement& statement, Frame* frame);
  Status ExecMacro(const MacroStatement& statement, Frame* frame);
  Status ExecCallBlock(const CallBlockStatement& statement, Frame* frame);
  Status ExecFilterBlock(const FilterBlockStatement& statement, Frame* frame);
  // Takes items until there are `count` or no more.
  Status TakeItems(LoopState& loop, size_t count);
  Status Assign(const Target& target, const Value& value, Frame* frame);
  // Renders into a string of its own.
  Result<Value> Capture(const Body& body, Frame* frame);
  Status AddLine(Status status, int line);
  Frame* NewFrame(Frame* parent) { return heap_.New<Frame>(parent); }
  Value MakeMacro(const Macro& macro, Frame* frame);
  Result<Value> CallMacro(const Callable& callable, const Arguments& args);
  Status BindMacro(const Callable& callable, const Arguments& args, Frame* frame);
  Status BindSurplus(const Macro& macro, const Arguments& args, std::vector<bool>& used, Frame* frame);

  // Expressions: eval.cc.
  Result<Value> Eval(const Expr& expr, Frame* frame);
  Result<Value> EvalInner(const Expr& expr, Frame* frame);
  Value EvalName(const NameExpr& expr, Frame* frame);
  Result<Value> EvalItems(const ItemsExpr& expr, Frame* frame);
  Result<Value> EvalDict(const DictExpr& expr, Frame* frame);
  Result<Value> EvalSlice(const SliceExpr& expr, Frame* frame);
  Result<Value> EvalCall(const CallExpr& expr, Frame* frame, const Value& caller);
  Result<Value> EvalFilter(const FilterExpr& expr, Frame* frame, const Value& block_input);
  Result<Value> EvalTest(const TestExpr& expr, Frame* frame);
  Result<Value> EvalUnary(const UnaryExpr& expr, Frame* frame);
  Result<Value> EvalBinary(const BinaryExpr& expr, Frame* frame);
  Result<Value> EvalConcat(const ItemsExpr& expr, Frame* frame);
  Result<Value> EvalLogic(const LogicExpr& expr, Frame* frame);
  Result<Value> EvalCompare(const CompareExpr& expr, Frame* frame);
  Result<Value> EvalConditional(const ConditionalExpr& expr, Frame* frame);
  Result<EvaluatedArgs> EvalArguments(const ArgExprs& args, Frame* frame);

  const Template& source_;
  Heap heap_;
  int64_t now_unix_s_;
  Frame* root_;
  TextBuilder* out_ = nullptr;
  Flow flow_ = Flow::kNext;
  int depth_ = 0;
  bool has_line_ = false;  // the error under way names its line already
};

// Operators: operators.cc. Errors: InvalidArgument for types that do not fit, division by zero, overflow.
Result<Value> Binary(Heap& heap, BinaryOp op, const Value& a, const Value& b);
Result<Value> Negate(const Value& value);
Result<bool> ContainsValue(Heap& heap, const Value& container, const Value& item);
// value[start:stop:step]; missing bounds are kMissing or None.
Result<Value> SliceValue(Heap& heap, const Value& value, const Value& start, const Value& stop, const Value& step);
// printf-style: format % args, as Python does it. `args` is a tuple, a dict or one value.
Result<Value> FormatPercent(Heap& heap, const Str& format, const Value& args);
// format.format(*args, **named).
Result<Value> FormatBraces(Interpreter& interpreter, const Str& format, const Arguments& args);
// strftime with the C locale's names.
std::string FormatTime(std::string_view format, int64_t unix_s);

}  // namespace lem::jinja
