// The expression half of the parser, from the weakest operator to the strongest; the precedence is Jinja's, which is
// not always Python's: `**` groups from the left and binds weaker than a sign, `~` lies between `+` and `*`.
#include <algorithm>
#include <charconv>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace lem::jinja {
namespace {

// Postfix operators and filters on one value, which nest in the tree though not in the source.
constexpr int kMaxChain = 200;

}  // namespace

bool Parser::AtTupleEnd() const {
  return Peek().kind == TokenKind::kVariableEnd || Peek().kind == TokenKind::kBlockEnd || PeekOp(")");
}

Result<const Expr*> Parser::ParseTuple(Ternary ternary, bool in_parentheses) {
  const int at_line = line();
  std::vector<const Expr*> items;
  bool is_tuple = false;
  while (!AtTupleEnd() && !(is_tuple && PeekName("recursive"))) {
    LEM_ASSIGN_OR_RETURN(const Expr* item, ParseExpression(ternary));
    items.push_back(item);
    if (!SkipOp(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return items[0];
  if (items.empty() && !in_parentheses) return Error("expected an expression, found {}", Found());
  auto node = std::make_unique<ItemsExpr>(ExprKind::kTuple, at_line);
  node->items = std::move(items);
  const Expr* out = node.get();
  out_.nodes_.push_back(std::move(node));
  return out;
}

Result<const Expr*> Parser::ParseExpression(Ternary ternary) {
  Level level(*this);
  LEM_TRY(CheckDepth());
  return ternary == Ternary::kAllowed ? ParseConditional() : ParseLogic(false);
}

Result<const Expr*> Parser::ParseConditional() {
  LEM_ASSIGN_OR_RETURN(const Expr* expr, ParseLogic(false));
  for (int chain = 0; PeekName("if"); ++chain) {
    if (chain >= kMaxChain) return Error("more than {} conditions in a row", kMaxChain);
    auto* out = out_.Make<ConditionalExpr>(line());
    Next();
    out->yes = expr;
    LEM_ASSIGN_OR_RETURN(out->test, ParseLogic(false));
    if (SkipName("else")) {
      LEM_ASSIGN_OR_RETURN(out->no, ParseExpression());
    }
    expr = out;
  }
  return expr;
}

Result<const Expr*> Parser::ParseLogic(bool is_and) {
  const std::string_view word = is_and ? "and" : "or";
  const int at_line = line();
  LEM_ASSIGN_OR_RETURN(const Expr* first, is_and ? ParseNot() : ParseLogic(true));
  if (!PeekName(word)) return first;
  auto* out = out_.Make<LogicExpr>(at_line);
  out->is_and = is_and;
  out->operands.push_back(first);
  while (SkipName(word)) {
    LEM_ASSIGN_OR_RETURN(const Expr* operand, is_and ? ParseNot() : ParseLogic(true));
    out->operands.push_back(operand);
  }
  return out;
}

Result<const Expr*> Parser::ParseNot() {
  if (!PeekName("not")) return ParseCompare();
  Level level(*this);
  LEM_TRY(CheckDepth());
  auto* out = out_.Make<UnaryExpr>(line());
  Next();
  LEM_ASSIGN_OR_RETURN(out->operand, ParseNot());
  return out;
}

Result<const Expr*> Parser::ParseCompare() {
  static constexpr std::pair<std::string_view, CompareOp> kOperators[] = {
      {"==", CompareOp::kEqual},     {"!=", CompareOp::kNotEqual}, {"<", CompareOp::kLess},
      {"<=", CompareOp::kLessEqual}, {">", CompareOp::kGreater},   {">=", CompareOp::kGreaterEqual},
  };
  const int at_line = line();
  LEM_ASSIGN_OR_RETURN(const Expr* first, ParseSum());
  CompareExpr* out = nullptr;
  for (;;) {
    CompareOp op = CompareOp::kIn;
    const auto* found = std::ranges::find_if(kOperators, [this](const auto& entry) { return PeekOp(entry.first); });
    if (found != std::end(kOperators)) {
      op = found->second;
      Next();
    } else if (PeekName("not") && Peek(1).Is(TokenKind::kName, "in")) {
      op = CompareOp::kNotIn;
      Next();
      Next();
    } else if (!SkipName("in")) {
      return out != nullptr ? out : first;
    }
    if (out == nullptr) {
      out = out_.Make<CompareExpr>(at_line);
      out->first = first;
    }
    LEM_ASSIGN_OR_RETURN(const Expr* operand, ParseSum());
    out->rest.emplace_back(op, operand);
  }
}

Result<const Expr*> Parser::ParseSum() {
  const int at_line = line();
  LEM_ASSIGN_OR_RETURN(const Expr* first, ParseConcat());
  BinaryExpr* out = nullptr;
  while (PeekOp("+") || PeekOp("-")) {
    const BinaryOp op = Next().text == "+" ? BinaryOp::kAdd : BinaryOp::kSubtract;
    if (out == nullptr) {
      out = out_.Make<BinaryExpr>(at_line);
      out->first = first;
    }
    LEM_ASSIGN_OR_RETURN(const Expr* operand, ParseConcat());
    out->rest.emplace_back(op, operand);
  }
  return out != nullptr ? out : first;
}

Result<const Expr*> Parser::ParseConcat() {
  const int at_line = line();
  LEM_ASSIGN_OR_RETURN(const Expr* first, ParseProduct());
  if (!PeekOp("~")) return first;
  auto node = std::make_unique<ItemsExpr>(ExprKind::kConcat, at_line);
  node->items.push_back(first);
  while (SkipOp("~")) {
    LEM_ASSIGN_OR_RETURN(const Expr* operand, ParseProduct());
    node->items.push_back(operand);
  }
  const Expr* out = node.get();
  out_.nodes_.push_back(std::move(node));
  return out;
}

Result<const Expr*> Parser::ParseProduct() {
  static constexpr std::pair<std::string_view, BinaryOp> kOperators[] = {
      {"*", BinaryOp::kMultiply},
      {"/", BinaryOp::kDivide},
      {"//", BinaryOp::kFloorDivide},
      {"%", BinaryOp::kModulo},
  };
  const int at_line = line();
  LEM_ASSIGN_OR_RETURN(const Expr* first, ParsePower());
  BinaryExpr* out = nullptr;
  for (;;) {
    const auto* found = std::ranges::find_if(kOperators, [this](const auto& entry) { return PeekOp(entry.first); });
    if (found == std::end(kOperators)) return out != nullptr ? out : first;
    Next();
    if (out == nullptr) {
      out = out_.Make<BinaryExpr>(at_line);
      out->first = first;
    }
    LEM_ASSIGN_OR_RETURN(const Expr* operand, ParsePower());
    out->rest.emplace_back(found->second, operand);
  }
}

Result<const Expr*> Parser::ParsePower() {
  const int at_line = line();
  LEM_ASSIGN_OR_RETURN(const Expr* first, ParseUnary(true));
  if (!PeekOp("**")) return first;
  auto* out = out_.Make<BinaryExpr>(at_line);
  out->first = first;
  while (SkipOp("**")) {
    LEM_ASSIGN_OR_RETURN(const Expr* operand, ParseUnary(true));
    out->rest.emplace_back(BinaryOp::kPower, operand);
  }
  return out;
}

Result<const Expr*> Parser::ParseUnary(bool with_filter) {
  const Expr* expr = nullptr;
  if (PeekOp("-") || PeekOp("+")) {
    Level level(*this);
    LEM_TRY(CheckDepth());
    auto* out = out_.Make<UnaryExpr>(line());
    out->op = Next().text == "-" ? UnaryOp::kNegative : UnaryOp::kPositive;
    LEM_ASSIGN_OR_RETURN(out->operand, ParseUnary(false));
    expr = out;
  } else {
    LEM_ASSIGN_OR_RETURN(expr, ParsePrimary());
  }
  LEM_ASSIGN_OR_RETURN(expr, ParsePostfix(expr));
  if (!with_filter) return expr;
  return ParseFilters(expr);
}

Result<const Expr*> Parser::ParsePrimary() {
  const Token& token = Peek();
  switch (token.kind) {
    case TokenKind::kName:
      return ParseName();
    case TokenKind::kString: {
      auto* out = out_.Make<ConstExpr>(token.line);
      std::string text;
      while (Peek().kind == TokenKind::kString) text += Next().text;
      out->value = out_.Literal(std::move(text));
      return out;
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (PeekOp("[")) return ParseList();
  if (PeekOp("{")) return ParseDict();
  if (!SkipOp("(")) return Error("expected an expression, found {}", Found());
  Level level(*this);
  LEM_TRY(CheckDepth());
  LEM_ASSIGN_OR_RETURN(const Expr* inner, ParseTuple(Ternary::kAllowed, true));
  LEM_TRY(ExpectOp(")"));
  return inner;
}

Result<const Expr*> Parser::ParseName() {
  const Token& token = Next();
  const std::string& name = token.text;
  const bool is_true = name == "true" || name == "True";
  if (is_true || name == "false" || name == "False" || name == "none" || name == "None") {
    auto* out = out_.Make<ConstExpr>(token.line);
    out->value = name == "none" || name == "None" ? Value::None() : Value::Bool(is_true);
    return out;
  }
  for (Macro* macro : open_macros_) {
    macro->uses_caller |= name == "caller";
    macro->uses_varargs |= name == "varargs";
    macro->uses_kwargs |= name == "kwargs";
  }
  auto* out = out_.Make<NameExpr>(token.line);
  out->symbol = out_.Intern(name);
  return out;
}

Result<const Expr*> Parser::ParseNumber() {
  const Token& token = Next();
  auto* out = out_.Make<ConstExpr>(token.line);
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  if (token.kind == TokenKind::kFloat) {
    double value = 0;
    const auto parsed = std::from_chars(begin, end, value);
    // Out of range is infinity or zero in Python; the library leaves the value alone, so decide by the exponent's sign.
    if (parsed.ec == std::errc::result_out_of_range) {
      value = token.text.find("e-") != std::string::npos || token.text.find("E-") != std::string::npos ? 0.0 : HUGE_VAL;
    }
    out->value = Value::Float(value);
    return out;
  }
  int base = 10;
  if (token.text.size() > 2 && token.text[0] == '0') {
    const char prefix = static_cast<char>(token.text[1] | 0x20);
    base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
    if (base != 10) begin += 2;
  }
  int64_t value = 0;
  if (std::from_chars(begin, end, value, base).ec != std::errc()) {
    return ErrorAt(token.line, "the integer {} does not fit 64 bits", token.text);
  }
  out->value = Value::Int(value);
  return out;
}

Result<const Expr*> Parser::ParseList() {
  auto node = std::make_unique<ItemsExpr>(ExprKind::kList, line());
  LEM_TRY(ExpectOp("["));
  while (!PeekOp("]")) {
    if (!node->items.empty()) LEM_TRY(ExpectOp(","));
    if (PeekOp("]")) break;
    LEM_ASSIGN_OR_RETURN(const Expr* item, ParseExpression());
    node->items.push_back(item);
  }
  LEM_TRY(ExpectOp("]"));
  const Expr* out = node.get();
  out_.nodes_.push_back(std::move(node));
  return out;
}

Result<const Expr*> Parser::ParseDict() {
  auto* out = out_.Make<DictExpr>(line());
  LEM_TRY(ExpectOp("{"));
  while (!PeekOp("}")) {
    if (!out->entries.empty()) LEM_TRY(ExpectOp(","));
    if (PeekOp("}")) break;
    LEM_ASSIGN_OR_RETURN(const Expr* key, ParseExpression());
    LEM_TRY(ExpectOp(":"));
    LEM_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
    out->entries.emplace_back(key, value);
  }
  LEM_TRY(ExpectOp("}"));
  return out;
}

Result<const Expr*> Parser::ParsePostfix(const Expr* expr) {
  for (int chain = 0;; ++chain) {
    if (chain > kMaxChain) return Error("more than {} operators after one value", kMaxChain);
    if (PeekOp(".") || PeekOp("[")) {
      LEM_ASSIGN_OR_RETURN(expr, ParseSubscript(expr));
    } else if (PeekOp("(")) {
      LEM_ASSIGN_OR_RETURN(expr, ParseCall(expr));
    } else {
      return expr;
    }
  }
}

Result<const Expr*> Parser::ParseFilters(const Expr* expr) {
  for (int chain = 0;; ++chain) {
    if (chain > kMaxChain) return Error("more than {} filters after one value", kMaxChain);
    if (SkipOp("|")) {
      LEM_ASSIGN_OR_RETURN(expr, ParseFilter(expr));
    } else if (PeekName("is")) {
      LEM_ASSIGN_OR_RETURN(expr, ParseTest(expr));
    } else if (PeekOp("(")) {
      LEM_ASSIGN_OR_RETURN(expr, ParseCall(expr));
    } else {
      return expr;
    }
  }
}

Result<const Expr*> Parser::ParseSubscript(const Expr* object) {
  const int at_line = line();
  if (!SkipOp(".")) return ParseBrackets(object, at_line);
  if (Peek().kind == TokenKind::kInteger) {
    auto* out = out_.Make<ElementExpr>(at_line);
    out->object = object;
    LEM_ASSIGN_OR_RETURN(out->index, ParseNumber());
    return out;
  }
  auto* out = out_.Make<AttributeExpr>(at_line);
  out->object = object;
  LEM_ASSIGN_OR_RETURN(std::string name, TakeName("a name or number after '.'"));
  out->name = out_.Literal(std::move(name));
  return out;
}

Result<const Expr*> Parser::ParseBrackets(const Expr* object, int at_line) {
  LEM_TRY(ExpectOp("["));
  const Expr* start = nullptr;
  if (!PeekOp(":")) {
    LEM_ASSIGN_OR_RETURN(start, ParseExpression());
  }
  if (!PeekOp(":")) {
    auto* out = out_.Make<ElementExpr>(at_line);
    out->object = object;
    out->index = start;
    if (PeekOp(",")) {  // x[a, b]: the key is a tuple
      auto node = std::make_unique<ItemsExpr>(ExprKind::kTuple, at_line);
      node->items.push_back(start);
      while (SkipOp(",")) {
        LEM_ASSIGN_OR_RETURN(const Expr* item, ParseExpression());
        node->items.push_back(item);
      }
      out->index = node.get();
      out_.nodes_.push_back(std::move(node));
    }
    LEM_TRY(ExpectOp("]"));
    return out;
  }
  auto* out = out_.Make<SliceExpr>(at_line);
  out->object = object;
  out->start = start;
  Next();
  if (!AtSubscriptEnd()) {
    LEM_ASSIGN_OR_RETURN(out->stop, ParseExpression());
  }
  if (SkipOp(":") && !AtSubscriptEnd()) {
    LEM_ASSIGN_OR_RETURN(out->step, ParseExpression());
  }
  LEM_TRY(ExpectOp("]"));
  return out;
}

Result<const Expr*> Parser::ParseCall(const Expr* callee) {
  auto* out = out_.Make<CallExpr>(line());
  out->callee = callee;
  LEM_ASSIGN_OR_RETURN(out->args, ParseArguments());
  return out;
}

Result<ArgExprs> Parser::ParseArguments() {
  const int at_line = line();
  const Status invalid = ErrorAt(at_line, "the arguments of the call are in the wrong order");
  LEM_TRY(ExpectOp("("));
  ArgExprs out;
  bool first = true;
  while (!PeekOp(")")) {
    if (!first) LEM_TRY(ExpectOp(","));
    first = false;
    if (PeekOp(")")) break;
    if (SkipOp("*")) {
      if (out.spread != nullptr || out.spread_named != nullptr) return invalid;
      LEM_ASSIGN_OR_RETURN(out.spread, ParseExpression());
    } else if (SkipOp("**")) {
      if (out.spread_named != nullptr) return invalid;
      LEM_ASSIGN_OR_RETURN(out.spread_named, ParseExpression());
    } else if (Peek().kind == TokenKind::kName && Peek(1).Is(TokenKind::kOperator, "=")) {
      if (out.spread_named != nullptr) return invalid;
      Value name = out_.Literal(Next().text);
      Next();
      LEM_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
      out.named.emplace_back(name, value);
    } else {
      if (out.spread != nullptr || out.spread_named != nullptr || !out.named.empty()) return invalid;
      LEM_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
      out.positional.push_back(value);
    }
  }
  LEM_TRY(ExpectOp(")"));
  return out;
}

// After the "|" (or the tag's name): name or name(arguments).
Result<const Expr*> Parser::ParseFilter(const Expr* input) {
  auto* out = out_.Make<FilterExpr>(line());
  out->input = input;
  LEM_ASSIGN_OR_RETURN(out->name, TakeName("the name of a filter"));
  while (SkipOp(".")) {
    LEM_ASSIGN_OR_RETURN(const std::string part, TakeName("the name of a filter"));
    out->name += "." + part;
  }
  out->function = FindFilter(out->name);
  if (PeekOp("(")) {
    LEM_ASSIGN_OR_RETURN(out->args, ParseArguments());
  }
  return out;
}

Result<const Expr*> Parser::ParseTest(const Expr* input) {
  const int at_line = line();
  LEM_TRY(ExpectName("is"));
  const bool negated = SkipName("not");
  auto* test = out_.Make<TestExpr>(at_line);
  test->input = input;
  LEM_ASSIGN_OR_RETURN(test->name, TakeName("the name of a test"));
  test->function = FindTest(test->name);
  const TokenKind next = Peek().kind;
  const bool starts_argument = next == TokenKind::kName || next == TokenKind::kString || next == TokenKind::kInteger ||
                               next == TokenKind::kFloat || PeekOp("[") || PeekOp("{");
  if (PeekOp("(")) {
    LEM_ASSIGN_OR_RETURN(test->args, ParseArguments());
  } else if (starts_argument && !PeekName("else") && !PeekName("or") && !PeekName("and")) {
    if (PeekName("is")) return Error("tests cannot be chained with 'is'");
    LEM_ASSIGN_OR_RETURN(const Expr* argument, ParsePrimary());
    LEM_ASSIGN_OR_RETURN(argument, ParsePostfix(argument));
    test->args.positional.push_back(argument);
  }
  if (!negated) return test;
  auto* out = out_.Make<UnaryExpr>(at_line);
  out->operand = test;
  return out;
}

}  // namespace lem::jinja
