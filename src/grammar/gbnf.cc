// llama.cpp's grammar language:
//   root ::= "a" item* | [^x-z]{2,3} (item | .)?   # comment
// A rule ends with its line, unless a parenthesis is open or a '|' follows or precedes.
#include <unordered_map>

#include "grammar/languages.h"
#include "grammar/rule_text.h"

namespace lem {
namespace {

class GbnfParser {
 public:
  GbnfParser(GrammarBuilder& builder, std::u32string text)
      : builder_(builder), exprs_(builder.exprs()), text_("GBNF", std::move(text)) {}

  Result<ExprId> Parse() {
    text_.SkipSpace(U"#", true);
    while (text_.More()) {
      LEM_TRY(ParseRule());
      text_.SkipSpace(U"#", true);
    }
    for (const auto& [name, rule] : rules_) {
      if (!rule.defined) return InvalidArgument("GBNF grammar: the rule '{}' is used but not defined", name);
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) return InvalidArgument("GBNF grammar: there is no rule 'root', where it starts");
    return exprs_.CallRule(root->second.id);
  }

 private:
  struct Rule {
    RuleId id;
    bool defined = false;
  };

  Rule& RuleNamed(const std::string& name) {
    const auto [at, added] = rules_.try_emplace(name);
    if (added) at->second.id = builder_.AddRule("the rule '" + name + "'");
    return at->second;
  }

  Status ParseRule() {
    LEM_TRY(builder_.CheckLimits());
    const std::string name = text_.TakeName();
    if (name.empty()) return text_.Error("a rule has to begin with its name");
    text_.SkipSpace(U"#", false);
    if (!text_.Take(U"::=")) return text_.Error("the rule '{}' has no '::='", name);
    text_.SkipSpace(U"#", true);
    if (RuleNamed(name).defined) return text_.Error("the rule '{}' is defined twice", name);
    LEM_ASSIGN_OR_RETURN(const ExprId body, Alternatives(0));
    Rule& rule = RuleNamed(name);
    builder_.SetRule(rule.id, body);
    rule.defined = true;
    if (text_.More() && text_.Peek() != '\n') return text_.Error("'{}' is not understood here", Shown());
    return OkStatus();
  }

  std::string Shown() const {
    const char32_t c = text_.Peek();
    return c >= 0x20 && c < 0x7F ? std::string(1, static_cast<char>(c))
                                 : fmt::format("U+{:04X}", static_cast<uint32_t>(c));
  }

  Result<ExprId> Alternatives(size_t depth) {
    if (depth > builder_.limits().max_depth) {
      return text_.Error("groups are nested deeper than {}", builder_.limits().max_depth);
    }
    std::vector<ExprId> options;
    while (true) {
      LEM_ASSIGN_OR_RETURN(options.emplace_back(), Sequence(depth));
      // An alternative may begin on the next line.
      const size_t before = text_.place();
      text_.SkipSpace(U"#", true);
      if (!text_.Take(U"|")) {
        if (depth == 0) text_.GoTo(before);
        break;
      }
      text_.SkipSpace(U"#", true);
    }
    return exprs_.Alt(std::move(options));
  }

  Result<ExprId> Sequence(size_t depth) {
    std::vector<ExprId> items;
    while (true) {
      text_.SkipSpace(U"#", depth > 0);
      const char32_t c = text_.Peek();
      if (!text_.More() || c == '|' || c == ')' || c == '\n') break;
      LEM_ASSIGN_OR_RETURN(const ExprId item, Item(depth));
      LEM_ASSIGN_OR_RETURN(items.emplace_back(), Repeated(item));
      if (items.size() % 64 == 0) LEM_TRY(builder_.CheckLimits());
    }
    return exprs_.ConcatAll(items);
  }

  Result<ExprId> Repeated(ExprId item) {
    while (true) {
      LEM_ASSIGN_OR_RETURN(const auto counts, text_.TakeRepetition());
      if (!counts) return item;
      item = exprs_.Repeat(item, counts->first, counts->second);
    }
  }

  Result<ExprId> Item(size_t depth) {
    if (text_.Take(U"\"")) {
      LEM_ASSIGN_OR_RETURN(const std::u32string literal, text_.TakeString());
      return builder_.utf8().EncodeText(literal);
    }
    if (text_.Take(U"[")) {
      LEM_ASSIGN_OR_RETURN(const CodePointSet set, text_.TakeClass());
      return builder_.utf8().Encode(set);
    }
    if (text_.Take(U".")) return builder_.utf8().AnyChar();
    if (text_.Take(U"<")) {
      LEM_ASSIGN_OR_RETURN(const TokenId token, text_.TakeToken());
      return exprs_.Token(token);
    }
    if (text_.Take(U"(")) {
      text_.SkipSpace(U"#", true);
      LEM_ASSIGN_OR_RETURN(const ExprId group, Alternatives(depth + 1));
      if (!text_.Take(U")")) return text_.Error("a '(' has no ')'");
      return group;
    }
    const std::string name = text_.TakeName();
    if (name.empty()) return text_.Error("'{}' is not understood here", Shown());
    return exprs_.CallRule(RuleNamed(name).id);
  }

  GrammarBuilder& builder_;
  ExprSet& exprs_;
  RuleText text_;
  std::unordered_map<std::string, Rule> rules_;
};

}  // namespace

Result<ExprId> CompileGbnf(GrammarBuilder& builder, std::string_view grammar) {
  std::optional<std::u32string> text = DecodeUtf8(grammar);
  if (!text) return InvalidArgument("the GBNF grammar is not valid UTF-8");
  return GbnfParser(builder, std::move(*text)).Parse();
}

}  // namespace lem
