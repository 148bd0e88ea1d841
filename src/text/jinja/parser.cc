#include "text/jinja/parser.h"

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

// Real templates nest some 15 levels; 200 levels of the parser's recursion fit a small stack.
constexpr int kMaxDepth = 200;
// The largest known chat template has 30 KB.
constexpr size_t kMaxSourceBytes = size_t{1} << 20;

bool IsConstantName(std::string_view name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None";
}

}  // namespace

Result<std::unique_ptr<Template>> Template::Parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return InvalidArgument("chat template has {} bytes; at most {} are allowed", source.size(), kMaxSourceBytes);
  }
  if (!IsValidUtf8(source)) return InvalidArgument("chat template is not valid UTF-8");
  LEM_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  std::unique_ptr<Template> out(new Template());
  out->special_ = {out->Intern("loop"), out->Intern("caller"), out->Intern("varargs"), out->Intern("kwargs")};
  LEM_TRY(Parser(*out, std::move(tokens)).ParseTemplate());
  return out;
}

const Symbol* Template::FindSymbol(std::string_view name) const {
  const auto found = symbols_.find(name);
  return found == symbols_.end() ? nullptr : &found->second;
}

Symbol* Template::Intern(std::string_view name) {
  const auto found = symbols_.find(name);
  if (found != symbols_.end()) return &found->second;
  return &symbols_.emplace(std::string(name), Symbol{std::string(name), FindFunction(name)}).first->second;
}

Value Template::Literal(std::string text) {
  Text& stored = texts_.emplace_back(Text{std::move(text), {}});
  stored.str.text = stored.text;
  return Value::String(&stored.str);
}

bool Parser::SkipOp(std::string_view op) {
  if (!PeekOp(op)) return false;
  Next();
  return true;
}

bool Parser::SkipName(std::string_view name) {
  if (!PeekName(name)) return false;
  Next();
  return true;
}

Status Parser::ExpectOp(std::string_view op) {
  if (!PeekOp(op)) return Error("expected '{}', found {}", op, Found());
  Next();
  return OkStatus();
}

Status Parser::ExpectName(std::string_view name) {
  if (!PeekName(name)) return Error("expected '{}', found {}", name, Found());
  Next();
  return OkStatus();
}

Status Parser::ExpectKind(TokenKind kind, std::string_view what) {
  if (Peek().kind != kind) return Error("expected {}, found {}", what, Found());
  Next();
  return OkStatus();
}

Result<std::string> Parser::TakeName(std::string_view what) {
  if (Peek().kind != TokenKind::kName) return Error("expected {}, found {}", what, Found());
  return Next().text;
}

std::string Parser::Found() const {
  switch (Peek().kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return fmt::format("'{}'", Peek().text);
  }
}

Status Parser::CheckDepth() const {
  if (depth_ <= kMaxDepth) return OkStatus();
  return Error("nested deeper than the {} levels allowed", kMaxDepth);
}

Status Parser::ParseTemplate() {
  LEM_ASSIGN_OR_RETURN(out_.body_, ParseBody({}, "", 1));
  return OkStatus();
}

// Statements up to one of the end tags, whose name is left as the next token; with no end tags, up to the end.
Result<Body> Parser::ParseBody(std::initializer_list<std::string_view> end_tags, std::string_view open_tag,
                               int open_line) {
  Level level(*this);
  LEM_TRY(CheckDepth());
  Body body;
  for (;;) {
    const Token& token = Peek();
    if (token.kind == TokenKind::kEnd) {
      if (end_tags.size() == 0) return body;
      return Error("{{% {} %}} of line {} is not closed: expected {{% {} %}}", open_tag, open_line,
                   *(end_tags.end() - 1));
    }
    if (token.kind == TokenKind::kData) {
      auto* text = out_.Make<TextStatement>(token.line);
      text->text = &out_.Literal(Next().text).as_string();
      body.push_back(text);
    } else if (token.kind == TokenKind::kVariableBegin) {
      auto* print = out_.Make<PrintStatement>(token.line);
      Next();
      LEM_ASSIGN_OR_RETURN(print->value, ParseTuple(Ternary::kAllowed, false));
      LEM_TRY(ExpectKind(TokenKind::kVariableEnd, "'}}'"));
      body.push_back(print);
    } else {
      LEM_TRY(ExpectKind(TokenKind::kBlockBegin, "'{%'"));
      if (std::ranges::any_of(end_tags, [this](std::string_view tag) { return PeekName(tag); })) return body;
      LEM_ASSIGN_OR_RETURN(const Statement* statement, ParseStatement());
      if (statement != nullptr) body.push_back(statement);
      LEM_TRY(ExpectKind(TokenKind::kBlockEnd, "'%}'"));
    }
  }
}

// The rest of an opening tag, its body, and the name of the end tag.
Result<Body> Parser::ParseBlock(std::initializer_list<std::string_view> end_tags, std::string_view open_tag,
                                int open_line) {
  SkipOp(":");
  LEM_TRY(ExpectKind(TokenKind::kBlockEnd, "'%}'"));
  return ParseBody(end_tags, open_tag, open_line);
}

Result<const Statement*> Parser::ParseStatement() {
  using Handler = Result<const Statement*> (Parser::*)();
  static constexpr std::pair<std::string_view, Handler> kHandlers[] = {
      {"if", &Parser::ParseIf},
      {"for", &Parser::ParseFor},
      {"set", &Parser::ParseSet},
      {"with", &Parser::ParseWith},
      {"macro", &Parser::ParseMacro},
      {"call", &Parser::ParseCallBlock},
      {"filter", &Parser::ParseFilterBlock},
      {"generation", &Parser::ParseGeneration},
      {"break", &Parser::ParseLoopControl},
      {"continue", &Parser::ParseLoopControl},
  };
  if (Peek().kind != TokenKind::kName) return Error("expected the name of a tag, found {}", Found());
  for (const auto& [name, handler] : kHandlers) {
    if (PeekName(name)) return (this->*handler)();
  }
  static constexpr std::string_view kRefused[] = {"include", "import", "from", "extends", "block"};
  if (std::ranges::find(kRefused, Peek().text) != std::end(kRefused)) {
    return Error("the tag '{}' is not supported: a chat template stands alone", Peek().text);
  }
  return Error("unknown tag '{}'", Peek().text);
}

Result<const Statement*> Parser::ParseIf() {
  auto* out = out_.Make<IfStatement>(line());
  Next();
  for (;;) {
    LEM_ASSIGN_OR_RETURN(const Expr* test, ParseTuple(Ternary::kExcluded, false));
    LEM_ASSIGN_OR_RETURN(Body body, ParseBlock({"elif", "else", "endif"}, "if", out->line));
    out->branches.emplace_back(test, std::move(body));
    if (SkipName("elif")) continue;
    if (SkipName("else")) {
      LEM_ASSIGN_OR_RETURN(out->else_body, ParseBlock({"endif"}, "if", out->line));
    }
    LEM_TRY(ExpectName("endif"));
    return out;
  }
}

Result<const Statement*> Parser::ParseFor() {
  auto* out = out_.Make<ForStatement>(line());
  Next();
  LEM_ASSIGN_OR_RETURN(out->target, ParseTarget(false));
  LEM_TRY(ExpectName("in"));
  LEM_ASSIGN_OR_RETURN(out->items, ParseTuple(Ternary::kExcluded, false));
  if (SkipName("if")) {
    LEM_ASSIGN_OR_RETURN(out->filter, ParseExpression());
  }
  out->recursive = SkipName("recursive");
  ++loop_depth_;
  LEM_ASSIGN_OR_RETURN(out->body, ParseBlock({"else", "endfor"}, "for", out->line));
  --loop_depth_;
  if (SkipName("else")) {
    LEM_ASSIGN_OR_RETURN(out->else_body, ParseBlock({"endfor"}, "for", out->line));
  }
  LEM_TRY(ExpectName("endfor"));
  return out;
}

Result<const Statement*> Parser::ParseSet() {
  const int at_line = line();
  Next();
  LEM_ASSIGN_OR_RETURN(Target target, ParseTarget(true));
  if (SkipOp("=")) {
    auto* out = out_.Make<SetStatement>(at_line);
    out->target = std::move(target);
    LEM_ASSIGN_OR_RETURN(out->value, ParseTuple(Ternary::kAllowed, false));
    return out;
  }
  auto* out = out_.Make<SetBlockStatement>(at_line);
  out->target = std::move(target);
  while (SkipOp("|")) {
    LEM_ASSIGN_OR_RETURN(out->filter, ParseFilter(out->filter));
  }
  LEM_ASSIGN_OR_RETURN(out->body, ParseBlock({"endset"}, "set", at_line));
  LEM_TRY(ExpectName("endset"));
  return out;
}

Result<const Statement*> Parser::ParseWith() {
  auto* out = out_.Make<WithStatement>(line());
  Next();
  while (Peek().kind != TokenKind::kBlockEnd) {
    if (!out->variables.empty()) LEM_TRY(ExpectOp(","));
    LEM_ASSIGN_OR_RETURN(Target target, ParseTargetPart(false));
    LEM_TRY(ExpectOp("="));
    LEM_ASSIGN_OR_RETURN(const Expr* value, ParseExpression());
    out->variables.emplace_back(std::move(target), value);
  }
  LEM_ASSIGN_OR_RETURN(out->body, ParseBlock({"endwith"}, "with", out->line));
  LEM_TRY(ExpectName("endwith"));
  return out;
}

Result<const Statement*> Parser::ParseMacro() {
  auto* out = out_.Make<MacroStatement>(line());
  Next();
  LEM_ASSIGN_OR_RETURN(out->macro.name, TakeName("the name of the macro"));
  out->symbol = out_.Intern(out->macro.name);
  LEM_TRY(ParseSignature(out->macro));
  LEM_TRY(ParseMacroBody(out->macro, "endmacro", "macro", out->line));
  return out;
}

Result<const Statement*> Parser::ParseCallBlock() {
  auto* out = out_.Make<CallBlockStatement>(line());
  Next();
  out->caller.name = "caller";
  if (PeekOp("(")) LEM_TRY(ParseSignature(out->caller));
  LEM_ASSIGN_OR_RETURN(const Expr* call, ParseExpression());
  if (call->kind != ExprKind::kCall) return ErrorAt(out->line, "{{% call %}} needs a call such as {{% call f() %}}");
  out->call = static_cast<const CallExpr*>(call);
  LEM_TRY(ParseMacroBody(out->caller, "endcall", "call", out->line));
  return out;
}

Result<const Statement*> Parser::ParseFilterBlock() {
  auto* out = out_.Make<FilterBlockStatement>(line());
  Next();
  LEM_ASSIGN_OR_RETURN(out->filter, ParseFilter(nullptr));
  while (SkipOp("|")) {
    LEM_ASSIGN_OR_RETURN(out->filter, ParseFilter(out->filter));
  }
  LEM_ASSIGN_OR_RETURN(out->body, ParseBlock({"endfilter"}, "filter", out->line));
  LEM_TRY(ExpectName("endfilter"));
  return out;
}

Result<const Statement*> Parser::ParseGeneration() {
  auto* out = out_.Make<ScopeStatement>(line());
  Next();
  LEM_ASSIGN_OR_RETURN(out->body, ParseBlock({"endgeneration"}, "generation", out->line));
  LEM_TRY(ExpectName("endgeneration"));
  return out;
}

Result<const Statement*> Parser::ParseLoopControl() {
  if (loop_depth_ == 0) return Error("'{}' outside a loop", Peek().text);
  const StatementKind kind = PeekName("break") ? StatementKind::kBreak : StatementKind::kContinue;
  const int at_line = line();
  Next();
  auto node = std::make_unique<Statement>(kind, at_line);
  const Statement* out = node.get();
  out_.nodes_.push_back(std::move(node));
  return out;
}

Status Parser::ParseSignature(Macro& macro) {
  LEM_TRY(ExpectOp("("));
  while (!PeekOp(")")) {
    if (!macro.parameters.empty()) LEM_TRY(ExpectOp(","));
    MacroParameter parameter;
    LEM_ASSIGN_OR_RETURN(const std::string name, TakeName("the name of a parameter"));
    parameter.symbol = out_.Intern(name);
    if (SkipOp("=")) {
      LEM_ASSIGN_OR_RETURN(parameter.default_value, ParseExpression());
    } else if (!macro.parameters.empty() && macro.parameters.back().default_value != nullptr) {
      return Error("parameter '{}' needs a default value, because the one before has one", name);
    }
    macro.parameters.push_back(parameter);
  }
  return ExpectOp(")");
}

Status Parser::ParseMacroBody(Macro& macro, std::string_view end_tag, std::string_view open_tag, int open_line) {
  open_macros_.push_back(&macro);
  const int outer_loops = std::exchange(loop_depth_, 0);
  LEM_ASSIGN_OR_RETURN(macro.body, ParseBlock({end_tag}, open_tag, open_line));
  loop_depth_ = outer_loops;
  open_macros_.pop_back();
  return ExpectName(end_tag);
}

Result<Target> Parser::ParseTarget(bool with_namespace) {
  Target tuple;
  tuple.is_tuple = true;
  bool has_comma = false;
  while (!AtTupleEnd() && !PeekName("in")) {
    LEM_ASSIGN_OR_RETURN(Target part, ParseTargetPart(with_namespace));
    tuple.parts.push_back(std::move(part));
    if (!SkipOp(",")) break;
    has_comma = true;
  }
  if (tuple.parts.empty()) return Error("expected a name to assign to, found {}", Found());
  return has_comma ? std::move(tuple) : std::move(tuple.parts[0]);
}

Result<Target> Parser::ParseTargetPart(bool with_namespace) {
  if (SkipOp("(")) {
    Level level(*this);
    LEM_TRY(CheckDepth());
    LEM_ASSIGN_OR_RETURN(Target inner, ParseTarget(false));
    LEM_TRY(ExpectOp(")"));
    return inner;
  }
  LEM_ASSIGN_OR_RETURN(const std::string name, TakeName("a name to assign to"));
  if (IsConstantName(name)) return Error("'{}' cannot be assigned to", name);
  Target target;
  target.symbol = out_.Intern(name);
  if (with_namespace && SkipOp(".")) {
    LEM_ASSIGN_OR_RETURN(std::string attribute, TakeName("the name of an attribute"));
    target.attribute = out_.Literal(std::move(attribute));
  }
  return target;
}

}  // namespace lem::jinja
