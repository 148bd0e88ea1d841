// The parsed template: statements and expressions, owned by a Template and never changed after parsing, so that many
// threads may render one template at once. Chains (a + b + c, a or b, x|f|g) are flat where Python's grammar allows, so
// that only written nesting makes the tree deep.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace lem::jinja {

class Interpreter;
struct Arguments;
// A filter, test, function or method. `self` is the filtered or tested value or the method's object.
using Builtin = Result<Value> (*)(Interpreter& interpreter, const Value& self, const Arguments& args);

struct Symbol {
  std::string name;
  Builtin global = nullptr;  // the function of that name, unless a variable hides it
};

struct Node {
  explicit Node(int node_line) : line(node_line) {}
  virtual ~Node() = default;
  int line;
};

enum class ExprKind : uint8_t {
  kConst,
  kName,
  kTuple,
  kList,
  kDict,
  kAttribute,
  kElement,
  kSlice,
  kCall,
  kFilter,
  kTest,
  kUnary,
  kBinary,
  kConcat,
  kLogic,
  kCompare,
  kConditional,
};

struct Expr : Node {
  Expr(ExprKind expr_kind, int node_line) : Node(node_line), kind(expr_kind) {}
  ExprKind kind;
};

struct ConstExpr : Expr {
  explicit ConstExpr(int node_line) : Expr(ExprKind::kConst, node_line) {}
  Value value;
};
struct NameExpr : Expr {
  explicit NameExpr(int node_line) : Expr(ExprKind::kName, node_line) {}
  const Symbol* symbol = nullptr;
};
struct ItemsExpr : Expr {  // (a, b) or [a, b]
  using Expr::Expr;
  std::vector<const Expr*> items;
};
struct DictExpr : Expr {
  explicit DictExpr(int node_line) : Expr(ExprKind::kDict, node_line) {}
  std::vector<std::pair<const Expr*, const Expr*>> entries;
};
struct AttributeExpr : Expr {  // object.name
  explicit AttributeExpr(int node_line) : Expr(ExprKind::kAttribute, node_line) {}
  const Expr* object = nullptr;
  Value name;
};
struct ElementExpr : Expr {  // object[index]
  explicit ElementExpr(int node_line) : Expr(ExprKind::kElement, node_line) {}
  const Expr* object = nullptr;
  const Expr* index = nullptr;
};
struct SliceExpr : Expr {  // object[start:stop:step], each may be absent
  explicit SliceExpr(int node_line) : Expr(ExprKind::kSlice, node_line) {}
  const Expr* object = nullptr;
  const Expr* start = nullptr;
  const Expr* stop = nullptr;
  const Expr* step = nullptr;
};

struct ArgExprs {
  std::vector<const Expr*> positional;
  std::vector<std::pair<Value, const Expr*>> named;  // the names are strings
  const Expr* spread = nullptr;                      // *args
  const Expr* spread_named = nullptr;                // **kwargs
};
struct CallExpr : Expr {
  explicit CallExpr(int node_line) : Expr(ExprKind::kCall, node_line) {}
  const Expr* callee = nullptr;
  ArgExprs args;
};
struct FilterExpr : Expr {
  explicit FilterExpr(int node_line) : Expr(ExprKind::kFilter, node_line) {}
  const Expr* input = nullptr;  // nullptr: the body of a filter or set block
  std::string name;
  Builtin function = nullptr;  // nullptr: there is no such filter
  ArgExprs args;
};
struct TestExpr : Expr {
  explicit TestExpr(int node_line) : Expr(ExprKind::kTest, node_line) {}
  const Expr* input = nullptr;
  std::string name;
  Builtin function = nullptr;  // nullptr: there is no such test
  ArgExprs args;
};

enum class UnaryOp : uint8_t { kNot, kNegative, kPositive };
struct UnaryExpr : Expr {
  explicit UnaryExpr(int node_line) : Expr(ExprKind::kUnary, node_line) {}
  UnaryOp op = UnaryOp::kNot;
  const Expr* operand = nullptr;
};

enum class BinaryOp : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
struct BinaryExpr : Expr {  // first op operand op operand ..., from the left
  explicit BinaryExpr(int node_line) : Expr(ExprKind::kBinary, node_line) {}
  const Expr* first = nullptr;
  std::vector<std::pair<BinaryOp, const Expr*>> rest;
};
struct LogicExpr : Expr {  // a and b and ..., or a or b or ...
  explicit LogicExpr(int node_line) : Expr(ExprKind::kLogic, node_line) {}
  bool is_and = false;
  std::vector<const Expr*> operands;
};

enum class CompareOp : uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
struct CompareExpr : Expr {  // a < b < c: all hold
  explicit CompareExpr(int node_line) : Expr(ExprKind::kCompare, node_line) {}
  const Expr* first = nullptr;
  std::vector<std::pair<CompareOp, const Expr*>> rest;
};
struct ConditionalExpr : Expr {  // yes if test else no
  explicit ConditionalExpr(int node_line) : Expr(ExprKind::kConditional, node_line) {}
  const Expr* test = nullptr;
  const Expr* yes = nullptr;
  const Expr* no = nullptr;  // may be absent
};

enum class StatementKind : uint8_t {
  kText,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kWith,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kScope,
  kBreak,
  kContinue,
};

struct Statement : Node {
  Statement(StatementKind statement_kind, int node_line) : Node(node_line), kind(statement_kind) {}
  StatementKind kind;
};
using Body = std::vector<const Statement*>;

struct TextStatement : Statement {
  explicit TextStatement(int node_line) : Statement(StatementKind::kText, node_line) {}
  const Str* text = nullptr;
};
struct PrintStatement : Statement {
  explicit PrintStatement(int node_line) : Statement(StatementKind::kPrint, node_line) {}
  const Expr* value = nullptr;
};
struct IfStatement : Statement {
  explicit IfStatement(int node_line) : Statement(StatementKind::kIf, node_line) {}
  std::vector<std::pair<const Expr*, Body>> branches;
  Body else_body;
};

// What `for` and `set` write to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  const Symbol* symbol = nullptr;
  Value attribute;  // missing for a plain name
  std::vector<Target> parts;
  bool is_tuple = false;
};

struct ForStatement : Statement {
  explicit ForStatement(int node_line) : Statement(StatementKind::kFor, node_line) {}
  Target target;
  const Expr* items = nullptr;
  const Expr* filter = nullptr;  // may be absent
  Body body;
  Body else_body;
  bool recursive = false;
};
struct SetStatement : Statement {
  explicit SetStatement(int node_line) : Statement(StatementKind::kSet, node_line) {}
  Target target;
  const Expr* value = nullptr;
};
struct SetBlockStatement : Statement {
  explicit SetBlockStatement(int node_line) : Statement(StatementKind::kSetBlock, node_line) {}
  Target target;
  const Expr* filter = nullptr;  // may be absent
  Body body;
};
struct WithStatement : Statement {
  explicit WithStatement(int node_line) : Statement(StatementKind::kWith, node_line) {}
  std::vector<std::pair<Target, const Expr*>> variables;
  Body body;
};

struct MacroParameter {
  const Symbol* symbol = nullptr;
  const Expr* default_value = nullptr;  // may be absent
};
struct Macro {
  std::string name;
  std::vector<MacroParameter> parameters;
  Body body;
  // Whether the body reads these names; a macro that does not refuses surplus arguments.
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};
struct MacroStatement : Statement {
  explicit MacroStatement(int node_line) : Statement(StatementKind::kMacro, node_line) {}
  const Symbol* symbol = nullptr;
  Macro macro;
};
struct CallBlockStatement : Statement {
  explicit CallBlockStatement(int node_line) : Statement(StatementKind::kCallBlock, node_line) {}
  const CallExpr* call = nullptr;
  Macro caller;
};
struct FilterBlockStatement : Statement {
  explicit FilterBlockStatement(int node_line) : Statement(StatementKind::kFilterBlock, node_line) {}
  const Expr* filter = nullptr;
  Body body;
};
struct ScopeStatement : Statement {  // {% generation %}
  explicit ScopeStatement(int node_line) : Statement(StatementKind::kScope, node_line) {}
  Body body;
};

// The names that the evaluator itself sets.
struct SpecialSymbols {
  const Symbol* loop = nullptr;
  const Symbol* caller = nullptr;
  const Symbol* varargs = nullptr;
  const Symbol* kwargs = nullptr;
};

class Template {
 public:
  // Errors: InvalidArgument with line and reason.
  static Result<std::unique_ptr<Template>> Parse(std::string_view source);

  const Body& body() const { return body_; }
  const SpecialSymbols& special() const { return special_; }
  // The symbol if the template uses the name, else nullptr.
  const Symbol* FindSymbol(std::string_view name) const;

 private:
  friend class Parser;
  Template() = default;

  Symbol* Intern(std::string_view name);
  Value Literal(std::string text);
  template <typename T>
  T* Make(int line) {
    auto node = std::make_unique<T>(line);
    T* out = node.get();
    nodes_.push_back(std::move(node));
    return out;
  }

  struct Text {
    std::string text;
    Str str;
  };
  std::map<std::string, Symbol, std::less<>> symbols_;
  std::deque<Text> texts_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Body body_;
  SpecialSymbols special_;
};

}  // namespace lem::jinja
