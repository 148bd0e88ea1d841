// Recursive descent over the tokens of one template. Internal to the interpreter: callers use Template::Parse.
// Every nesting level is counted, so hostile source ends with an error and not with the stack.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace lem::jinja {

class Parser {
 public:
  Parser(Template& out, std::vector<Token> tokens) : out_(out), tokens_(std::move(tokens)) {}
  Status ParseTemplate();

 private:
  enum class Ternary : uint8_t { kAllowed, kExcluded };

  // Counts one level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) { ++parser_.depth_; }
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  // Tokens.
  const Token& Peek(size_t ahead = 0) const { return tokens_[std::min(pos_ + ahead, tokens_.size() - 1)]; }
  int line() const { return Peek().line; }
  const Token& Next() { return tokens_[pos_ < tokens_.size() - 1 ? pos_++ : pos_]; }
  bool PeekOp(std::string_view op) const { return Peek().Is(TokenKind::kOperator, op); }
  bool PeekName(std::string_view name) const { return Peek().Is(TokenKind::kName, name); }
  bool SkipOp(std::string_view op);
  bool SkipName(std::string_view name);
  Status ExpectOp(std::string_view op);
  Status ExpectName(std::string_view name);
  Status ExpectKind(TokenKind kind, std::string_view what);
  Result<std::string> TakeName(std::string_view what);
  std::string Found() const;
  Status CheckDepth() const;
  template <typename... Args>
  Status ErrorAt(int at_line, fmt::format_string<Args...> format, Args&&... args) const {
    return InvalidArgument("chat template, line {}: {}", at_line, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  Status Error(fmt::format_string<Args...> format, Args&&... args) const {
    return ErrorAt(line(), format, std::forward<Args>(args)...);
  }

  // Statements: parser.cc.
  Result<Body> ParseBody(std::initializer_list<std::string_view> end_tags, std::string_view open_tag, int open_line);
  Result<Body> ParseBlock(std::initializer_list<std::string_view> end_tags, std::string_view open_tag, int open_line);
  Result<const Statement*> ParseStatement();
  Result<const Statement*> ParseIf();
  Result<const Statement*> ParseFor();
  Result<const Statement*> ParseSet();
  Result<const Statement*> ParseWith();
  Result<const Statement*> ParseMacro();
  Result<const Statement*> ParseCallBlock();
  Result<const Statement*> ParseFilterBlock();
  Result<const Statement*> ParseGeneration();
  Result<const Statement*> ParseLoopControl();
  Status ParseSignature(Macro& macro);
  // The body of a macro or call block; `break` does not reach out of it.
  Status ParseMacroBody(Macro& macro, std::string_view end_tag, std::string_view open_tag, int open_line);
  Result<Target> ParseTarget(bool with_namespace);
  Result<Target> ParseTargetPart(bool with_namespace);

  // Expressions: parser_expr.cc.
  Result<const Expr*> ParseExpression(Ternary ternary = Ternary::kAllowed);
  Result<const Expr*> ParseTuple(Ternary ternary, bool in_parentheses);
  Result<const Expr*> ParseConditional();
  Result<const Expr*> ParseLogic(bool is_and);
  Result<const Expr*> ParseNot();
  Result<const Expr*> ParseCompare();
  Result<const Expr*> ParseSum();
  Result<const Expr*> ParseConcat();
  Result<const Expr*> ParseProduct();
  Result<const Expr*> ParsePower();
  Result<const Expr*> ParseUnary(bool with_filter);
  Result<const Expr*> ParsePrimary();
  Result<const Expr*> ParseName();
  Result<const Expr*> ParseNumber();
  Result<const Expr*> ParseList();
  Result<const Expr*> ParseDict();
  Result<const Expr*> ParsePostfix(const Expr* expr);
  Result<const Expr*> ParseFilters(const Expr* expr);
  Result<const Expr*> ParseSubscript(const Expr* object);
  Result<const Expr*> ParseBrackets(const Expr* object, int at_line);
  Result<const Expr*> ParseCall(const Expr* callee);
  Result<const Expr*> ParseFilter(const Expr* input);
  Result<const Expr*> ParseTest(const Expr* input);
  Result<ArgExprs> ParseArguments();
  bool AtTupleEnd() const;
  bool AtSubscriptEnd() const { return PeekOp(":") || PeekOp("]") || PeekOp(","); }

  Template& out_;
  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int depth_ = 0;
  int loop_depth_ = 0;
  std::vector<Macro*> open_macros_;
};

}  // namespace lem::jinja
