// Lark, as far as constrained output needs it:
//   start: greeting ("," name)* END?      // rules: lower case
//   name: WORD | %json {"type": "integer"}
//   WORD: /[a-z]+/i                       // terminals: upper case, without recursion
//   %ignore /[ \t]+/
//   %import common.INT
// Tokens are <[id]>. Not here: templates, priorities have no meaning, as every reading is followed at once.
#include <unordered_map>

#include "base/json.h"
#include "grammar/languages.h"
#include "grammar/rule_text.h"
#include "text/utf8.h"

namespace lem {
namespace {

struct Common {
  std::string_view name, pattern;
};
// Of Lark's common.lark.
constexpr Common kCommon[] = {
    {"DIGIT", "[0-9]"},
    {"HEXDIGIT", "[a-fA-F0-9]"},
    {"INT", "[0-9]+"},
    {"SIGNED_INT", "[+-]?[0-9]+"},
    {"DECIMAL", "[0-9]+\\.[0-9]*|\\.[0-9]+"},
    {"FLOAT", "[0-9]+[eE][+-]?[0-9]+|(?:[0-9]+\\.[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"},
    {"NUMBER", "(?:[0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"},
    {"SIGNED_NUMBER", "[+-]?(?:[0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?"},
    {"ESCAPED_STRING", "\"(?:[^\"\\\\\\n]|\\\\[^\\n])*\""},
    {"LCASE_LETTER", "[a-z]"},
    {"UCASE_LETTER", "[A-Z]"},
    {"LETTER", "[a-zA-Z]"},
    {"WORD", "[a-zA-Z]+"},
    {"CNAME", "[a-zA-Z_][a-zA-Z0-9_]*"},
    {"WS_INLINE", "[ \\t]+"},
    {"WS", "[ \\t\\f\\r\\n]+"},
    {"NEWLINE", "(?:\\r?\\n)+"},
};

class LarkParser {
 public:
  LarkParser(GrammarBuilder& builder, std::u32string text)
      : builder_(builder), exprs_(builder.exprs()), text_("Lark", std::move(text)) {}

  // Twice over the text: what is ignored has to be known before the first rule, and terminals before what uses them.
  Result<ExprId> Parse() {
    LEM_TRY(Collect());
    std::vector<ExprId> ignored;
    for (const size_t place : ignored_) {
      text_.GoTo(place);
      LEM_ASSIGN_OR_RETURN(ignored.emplace_back(), Alternatives(0, true));
    }
    ignore_ = exprs_.Repeat(exprs_.Alt(std::move(ignored)), 0, kNoMax);
    if (!definitions_.contains("start")) return InvalidArgument("Lark grammar: there is no rule 'start'");
    for (const auto& [name, definition] : definitions_) {
      if (IsTerminal(name)) continue;
      text_.GoTo(definition.place);
      LEM_ASSIGN_OR_RETURN(const ExprId body, Alternatives(0, false));
      builder_.SetRule(RuleNamed(name), body);
      LEM_TRY(CheckEnd());
      LEM_TRY(builder_.CheckLimits());
    }
    return exprs_.Concat(ignore_, exprs_.CallRule(RuleNamed("start")));
  }

 private:
  struct Definition {
    size_t place = 0;  // of what stands behind the colon
    bool open = false;
    std::optional<ExprId> terminal;
  };

  static bool IsTerminal(std::string_view name) {
    const size_t first = name.find_first_not_of('_');
    return first != std::string_view::npos && name[first] >= 'A' && name[first] <= 'Z';
  }

  RuleId RuleNamed(const std::string& name) {
    const auto [at, added] = rules_.try_emplace(name, 0);
    if (added) at->second = builder_.AddRule("the rule '" + name + "'");
    return at->second;
  }

  Status Collect() {
    while (true) {
      text_.SkipSpace(U"//", true);
      if (!text_.More()) return OkStatus();
      if (text_.Take(U"%")) {
        LEM_TRY(Directive());
        continue;
      }
      if (text_.Peek() == '|') {
        SkipLine();
        continue;
      }
      if (text_.Peek() == '?' || text_.Peek() == '!') text_.Next();
      const std::string name = text_.TakeName();
      if (name.empty()) return text_.Error("a rule has to begin with its name");
      if (text_.Take(U".")) text_.TakeNumber();  // a priority
      text_.SkipSpace(U"//", false);
      if (!text_.Take(U":")) return text_.Error("the rule '{}' has no ':'", name);
      if (!definitions_.try_emplace(name, Definition{text_.place(), false, {}}).second) {
        return text_.Error("'{}' is defined twice", name);
      }
      SkipLine();
    }
  }

  Status Directive() {
    const std::string name = text_.TakeName();
    text_.SkipSpace(U"//", false);
    if (name == "ignore") {
      ignored_.push_back(text_.place());
      SkipLine();
      return OkStatus();
    }
    if (name == "import") {
      if (!text_.Take(U"common.")) return text_.Error("only %import common.NAME is supported");
      const std::string imported = text_.TakeName();
      for (const Common& common : kCommon) {
        if (common.name != imported) continue;
        Definition definition;
        LEM_ASSIGN_OR_RETURN(definition.terminal,
                             CompileRegex(builder_, builder_.utf8(), common.pattern, RegexMatch::kWhole));
        definitions_.try_emplace(imported, definition);
        return OkStatus();
      }
      return text_.Error("common.{} is not known", imported);
    }
    if (name == "llguidance") {
      text_.SkipSpace(U"//", false);
      if (text_.Take(U"{}")) return OkStatus();
    }
    return text_.Error("the directive %{} is not supported; supported: %ignore, %import, %json in a rule", name);
  }

  // To the end of the line, past strings, patterns and the lines of a value of %json.
  void SkipLine() {
    int braces = 0;
    for (bool quoted = false, pattern = false; text_.More(); text_.Next()) {
      const char32_t c = text_.Peek();
      if (c == '\n' && braces <= 0) return;
      if (c == '\\' && (quoted || pattern)) {
        text_.Next();
        if (!text_.More()) return;
      } else if (c == '"' && !pattern) {
        quoted = !quoted;
      } else if (c == '/' && !quoted && braces == 0) {
        if (!pattern && text_.Peek(1) == '/') {
          text_.SkipSpace(U"//", false);
          return;
        }
        pattern = !pattern;
      } else if (!quoted && !pattern && (c == '{' || c == '}')) {
        braces += c == '{' ? 1 : -1;
      } else if (c == '\n') {
        quoted = pattern = false;
      }
    }
  }

  Status CheckEnd() {
    text_.SkipSpace(U"//", false);
    if (text_.More() && text_.Peek() != '\n') return text_.Error("the end of the rule is not understood");
    return OkStatus();
  }

  Result<ExprId> TerminalNamed(const std::string& name) {
    const auto at = definitions_.find(name);
    if (at == definitions_.end()) return text_.Error("the terminal '{}' is not defined", name);
    Definition& definition = at->second;
    if (definition.terminal) return *definition.terminal;
    if (definition.open || ++terminal_depth_ > builder_.limits().max_depth) {
      return text_.Error("the terminal '{}' refers to itself; make it a rule (lower case)", name);
    }
    definition.open = true;
    const size_t place = text_.place();
    text_.GoTo(definition.place);
    LEM_ASSIGN_OR_RETURN(definition.terminal, Alternatives(0, true));
    LEM_TRY(CheckEnd());
    LEM_TRY(builder_.CheckLimits());
    text_.GoTo(place);
    definition.open = false;
    --terminal_depth_;
    return *definition.terminal;
  }

  Result<ExprId> Alternatives(size_t depth, bool terminal) {
    if (depth > builder_.limits().max_depth) {
      return text_.Error("groups are nested deeper than {}", builder_.limits().max_depth);
    }
    std::vector<ExprId> options;
    text_.SkipSpace(U"//", false);
    if (text_.Peek() == '\n') {  // the first alternative on a line of its own
      const size_t before = text_.place();
      text_.SkipSpace(U"//", true);
      if (!text_.Take(U"|")) text_.GoTo(before);
    }
    while (true) {
      LEM_ASSIGN_OR_RETURN(options.emplace_back(), Sequence(depth, terminal));
      const size_t before = text_.place();
      text_.SkipSpace(U"//", true);
      if (!text_.Take(U"|")) {
        if (depth == 0) text_.GoTo(before);
        break;
      }
    }
    return exprs_.Alt(std::move(options));
  }

  Result<ExprId> Sequence(size_t depth, bool terminal) {
    std::vector<ExprId> items;
    while (true) {
      text_.SkipSpace(U"//", depth > 0);
      const char32_t c = text_.Peek();
      if (!text_.More() || c == '|' || c == ')' || c == ']' || c == '\n') break;
      if (text_.Take(U"->")) {
        text_.SkipSpace(U"//", false);
        text_.TakeName();  // an alias names what a parser would return
        continue;
      }
      LEM_ASSIGN_OR_RETURN(const ExprId item, Item(depth, terminal));
      LEM_ASSIGN_OR_RETURN(items.emplace_back(), Repeated(item));
      if (items.size() % 64 == 0) LEM_TRY(builder_.CheckLimits());
    }
    return exprs_.ConcatAll(items);
  }

  Result<ExprId> Repeated(ExprId item) {
    while (true) {
      LEM_ASSIGN_OR_RETURN(const auto counts, text_.TakeRepetition());
      if (counts) {
        item = exprs_.Repeat(item, counts->first, counts->second);
      } else if (text_.Take(U"~")) {
        const std::optional<uint32_t> min = text_.TakeNumber();
        const std::optional<uint32_t> max = text_.Take(U"..") ? text_.TakeNumber() : min;
        if (!min || !max || *max < *min) return text_.Error("a repetition has to be ~n or ~m..n");
        item = exprs_.Repeat(item, *min, *max);
      } else {
        return item;
      }
    }
  }

  // A terminal in a rule swallows what is ignored behind it.
  ExprId InRule(ExprId expr, bool terminal) { return terminal ? expr : exprs_.Concat(expr, ignore_); }

  Result<ExprId> Item(size_t depth, bool terminal) {
    if (text_.Take(U"\"")) {
      LEM_ASSIGN_OR_RETURN(const std::u32string literal, text_.TakeString());
      const bool ignore_case = text_.Peek() == 'i' && text_.Take(U"i");
      if (!ignore_case) return InRule(builder_.utf8().EncodeText(literal), terminal);
      ExprId expr = kEpsilon;
      for (size_t i = literal.size(); i-- > 0;) {
        expr = exprs_.Concat(builder_.utf8().Encode(IgnoreAsciiCase(literal[i])), expr);
      }
      return InRule(expr, terminal);
    }
    if (text_.Take(U"/")) return Pattern(terminal);
    if (text_.Take(U"%")) {
      if (terminal || text_.TakeName() != "json") return text_.Error("only %json is supported here, in rules");
      return Json();
    }
    if (text_.Take(U"<")) {
      if (terminal) return text_.Error("a token cannot be part of a terminal");
      LEM_ASSIGN_OR_RETURN(const TokenId token, text_.TakeToken());
      return exprs_.Token(token);
    }
    for (const auto& [open, close] : {std::pair<std::u32string_view, std::u32string_view>{U"(", U")"}, {U"[", U"]"}}) {
      if (!text_.Take(open)) continue;
      LEM_ASSIGN_OR_RETURN(const ExprId group, Alternatives(depth + 1, terminal));
      if (!text_.Take(close)) return text_.Error("a bracket is not closed");
      return open == U"[" ? exprs_.Optional(group) : group;
    }
    const std::string name = text_.TakeName();
    if (name.empty()) return text_.Error("a character is not understood here");
    if (IsTerminal(name)) {
      LEM_ASSIGN_OR_RETURN(const ExprId expr, TerminalNamed(name));
      return InRule(terminal ? expr : builder_.AsRule(expr), terminal);
    }
    if (terminal) return text_.Error("the terminal refers to the rule '{}'; terminals are made of terminals", name);
    if (text_.Peek() == '[' || text_.Peek() == '{') return text_.Error("attributes and templates are not supported");
    if (!definitions_.contains(name)) return text_.Error("the rule '{}' is not defined", name);
    return exprs_.CallRule(RuleNamed(name));
  }

  static CodePointSet IgnoreAsciiCase(char32_t c) {
    CodePointSet set{{c, c}};
    if (c >= 'a' && c <= 'z') set.Add(c - 32, c - 32);
    if (c >= 'A' && c <= 'Z') set.Add(c + 32, c + 32);
    return set;
  }

  Result<ExprId> Pattern(bool terminal) {
    std::string pattern;
    while (true) {
      if (!text_.More() || text_.Peek() == '\n') return text_.Error("a pattern has no closing '/'");
      const char32_t c = text_.Next();
      if (c == '/') break;
      if (c == '\\' && text_.Peek() == '/') {
        text_.Next();
        pattern.push_back('/');
        continue;
      }
      AppendUtf8(c, pattern);
      if (c == '\\' && text_.More()) AppendUtf8(text_.Next(), pattern);
    }
    std::string flags;
    for (; text_.Peek() == 'i' || text_.Peek() == 's' || text_.Peek() == 'u'; text_.Next()) {
      if (text_.Peek() != 'u') flags.push_back(static_cast<char>(text_.Peek()));
    }
    if (!flags.empty()) pattern = "(?" + flags + ":" + pattern + ")";
    Result<ExprId> expr = CompileRegex(builder_, builder_.utf8(), pattern, RegexMatch::kWhole);
    if (!expr.ok()) return text_.Error("{}", expr.status().message());
    return InRule(terminal ? *expr : builder_.AsRule(*expr), terminal);
  }

  // A schema, up to the brace that closes it.
  Result<ExprId> Json() {
    text_.SkipSpace(U"//", true);
    std::string json;
    int braces = 0;
    for (bool quoted = false; text_.More();) {
      const char32_t c = text_.Next();
      AppendUtf8(c, json);
      if (quoted && c == '\\' && text_.More()) {
        AppendUtf8(text_.Next(), json);
      } else if (c == '"') {
        quoted = !quoted;
      } else if (!quoted && (c == '{' || c == '}')) {
        braces += c == '{' ? 1 : -1;
        if (braces == 0) break;
      }
    }
    Result<ExprId> expr = CompileJsonSchema(builder_, json, JsonWhitespace::kFree);
    if (!expr.ok()) return text_.Error("{}", expr.status().message());
    return InRule(*expr, false);
  }

  GrammarBuilder& builder_;
  ExprSet& exprs_;
  RuleText text_;
  std::unordered_map<std::string, Definition> definitions_;
  std::unordered_map<std::string, RuleId> rules_;
  std::vector<size_t> ignored_;
  ExprId ignore_ = kEpsilon;
  size_t terminal_depth_ = 0;
};

}  // namespace

Result<ExprId> CompileLark(GrammarBuilder& builder, std::string_view grammar) {
  std::optional<std::u32string> text = DecodeUtf8(grammar);
  if (!text) return InvalidArgument("the Lark grammar is not valid UTF-8");
  return LarkParser(builder, std::move(*text)).Parse();
}

}  // namespace lem
