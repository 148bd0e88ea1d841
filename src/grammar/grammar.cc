#include "grammar/grammar.h"

#include <algorithm>
#include <mutex>

#include "grammar/builder.h"
#include "grammar/engine.h"
#include "grammar/languages.h"
#include "grammar/piece.h"

namespace lem {
namespace {

using PieceNode = GrammarPiece::Node;
using Kind = PieceNode::Kind;

// Engines of one grammar, one a vocabulary: a server has few models, and the last ones count.
constexpr size_t kMaxEngines = 4;

class PieceCompiler {
 public:
  explicit PieceCompiler(GrammarBuilder& builder) : builder_(builder), exprs_(builder.exprs()) {}

  Result<ExprId> Compile(const GrammarPiece& piece, size_t depth) {
    const PieceNode& node = piece.node();
    if (depth > builder_.limits().max_depth) {
      return InvalidArgument("the grammar's pieces are nested deeper than {}", builder_.limits().max_depth);
    }
    if (node.text.size() > builder_.limits().max_source_bytes) {
      return InvalidArgument("the grammar's text has {} bytes; allowed: {}", node.text.size(),
                             builder_.limits().max_source_bytes);
    }
    LEM_TRY(builder_.CheckLimits());
    switch (node.kind) {
      case Kind::kLiteral:
        return exprs_.Literal(node.text);
      case Kind::kRegex: {
        LEM_ASSIGN_OR_RETURN(const ExprId regex,
                             CompileRegex(builder_, builder_.utf8(), node.text, RegexMatch::kWhole));
        return builder_.AsRule(regex);
      }
      case Kind::kJsonSchema:
        return CompileJsonSchema(builder_, node.text, node.whitespace);
      case Kind::kJsonObject:
        return builder_.JsonAnyObject(node.whitespace);
      case Kind::kJsonAny:
        return builder_.JsonAny(node.whitespace);
      case Kind::kGbnf:
        return CompileGbnf(builder_, node.text);
      case Kind::kLark:
        return CompileLark(builder_, node.text);
      case Kind::kChoice:
        return CompileChoice(node, depth);
      case Kind::kSequence:
        return CompileSequence(node, depth);
      case Kind::kRepeat: {
        if (node.min > node.max) return InvalidArgument("a repeat of {} to {} times has none", node.min, node.max);
        LEM_ASSIGN_OR_RETURN(const ExprId body, Compile(node.parts[0], depth + 1));
        return exprs_.Repeat(body, node.min, node.max);
      }
      case Kind::kText:
        return CompileText(node);
      case Kind::kToken:
        return exprs_.Token(node.token);
    }
    return Internal("a piece of a grammar of kind {}", static_cast<int>(node.kind));
  }

 private:
  Result<ExprId> CompileChoice(const PieceNode& node, size_t depth) {
    std::vector<ExprId> options;
    std::vector<std::string> literals;  // together: a tree
    for (const GrammarPiece& part : node.parts) {
      if (part.node().kind == Kind::kLiteral) {
        literals.push_back(part.node().text);
        continue;
      }
      LEM_ASSIGN_OR_RETURN(options.emplace_back(), Compile(part, depth + 1));
    }
    options.push_back(exprs_.OneOf(std::move(literals)));
    return exprs_.Alt(std::move(options));
  }

  Result<ExprId> CompileSequence(const PieceNode& node, size_t depth) {
    std::vector<ExprId> parts;
    for (const GrammarPiece& part : node.parts) {
      LEM_ASSIGN_OR_RETURN(parts.emplace_back(), Compile(part, depth + 1));
    }
    return exprs_.ConcatAll(parts);
  }

  Result<ExprId> CompileText(const PieceNode& node) {
    const ExprId text = builder_.utf8().AnyText();
    if (node.without.empty()) return builder_.AsRule(text);
    std::vector<ExprId> found;
    for (const std::string& trigger : node.without) {
      if (trigger.empty()) return InvalidArgument("text without the empty string is no text at all");
      found.push_back(exprs_.Concat({kAll, exprs_.Literal(trigger), kAll}));
    }
    return builder_.AsRule(exprs_.And(text, exprs_.Not(exprs_.Alt(std::move(found)))));
  }

  GrammarBuilder& builder_;
  ExprSet& exprs_;
};

// Rules that match something, rules that may match nothing; a rule that calls itself before any byte is an error.
class RuleChecker {
 public:
  RuleChecker(GrammarBuilder& builder, std::vector<ExprId>& rules) : builder_(builder), rules_(rules) {}

  // Takes out what no finite text can match.
  Result<ExprId> Prune(ExprId start) {
    LEM_ASSIGN_OR_RETURN(const std::vector<bool> alive, LeastOf([&](ExprId rule, const std::vector<bool>& known) {
                           std::unordered_map<ExprId, bool> memo;
                           return builder_.exprs().Productive(rule, known, memo);
                         }));
    if (std::ranges::find(alive, false) == alive.end()) return start;
    std::vector<bool> dead(alive.size());
    for (size_t i = 0; i < alive.size(); ++i) dead[i] = !alive[i];
    std::unordered_map<ExprId, ExprId> memo;
    for (ExprId& rule : rules_) rule = builder_.exprs().WithoutRules(rule, dead, memo);
    return builder_.exprs().WithoutRules(start, dead, memo);
  }

  Status CheckLeftRecursion() const {
    LEM_ASSIGN_OR_RETURN(const std::vector<bool> nullable, LeastOf([&](ExprId rule, const std::vector<bool>& known) {
                           std::unordered_map<ExprId, bool> memo;
                           return builder_.exprs().NullableWith(rule, known, memo);
                         }));
    std::vector<std::vector<RuleId>> left(rules_.size());
    std::vector<bool> memo;
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (builder_.exprs().HasCalls(rules_[i])) builder_.exprs().LeftRules(rules_[i], nullable, left[i], memo);
    }
    // Depth first; a rule met again on its own way calls itself.
    enum class Visit : uint8_t { kNew, kOpen, kDone };
    std::vector<Visit> visits(rules_.size(), Visit::kNew);
    std::vector<std::pair<RuleId, size_t>> way;
    for (RuleId root = 0; root < rules_.size(); ++root) {
      if (visits[root] != Visit::kNew) continue;
      visits[root] = Visit::kOpen;
      way.assign(1, {root, 0});
      while (!way.empty()) {
        auto& [rule, next] = way.back();
        if (next == left[rule].size()) {
          visits[rule] = Visit::kDone;
          way.pop_back();
          continue;
        }
        const RuleId callee = left[rule][next++];
        if (visits[callee] == Visit::kOpen) {
          return InvalidArgument(
              "{} begins with itself (left recursion), which is not supported; write it as a repetition",
              builder_.RuleName(callee));
        }
        if (visits[callee] == Visit::kNew) {
          visits[callee] = Visit::kOpen;
          way.emplace_back(callee, 0);
        }
      }
    }
    return OkStatus();
  }

 private:
  // The rules for which `holds`, given those for which it is known; the least such set. Forwards and backwards in
  // turns, so that chains take few rounds.
  template <typename Predicate>
  Result<std::vector<bool>> LeastOf(const Predicate& holds) const {
    std::vector<bool> known(rules_.size());
    bool forwards = false;
    for (bool changed = true; changed; forwards = !forwards) {
      changed = false;
      for (size_t n = 0; n < rules_.size(); ++n) {
        const size_t i = forwards ? n : rules_.size() - 1 - n;
        if (known[i] || !holds(rules_[i], known)) continue;
        known[i] = changed = true;
      }
      LEM_TRY(builder_.CheckLimits());
    }
    return known;
  }

  GrammarBuilder& builder_;
  std::vector<ExprId>& rules_;
};

GrammarPiece::Node NodeOf(Kind kind, std::string_view text) {
  GrammarPiece::Node node;
  node.kind = kind;
  node.text = text;
  return node;
}

}  // namespace

struct Grammar::Rep {
  explicit Rep(const ExprSet& set) : exprs(set) {}
  const ExprSet exprs;
  std::vector<ExprId> rules;
  ExprId start = kEmpty, json_char = kEmpty;
  ByteClasses classes;
  std::mutex mutex;
  std::vector<std::shared_ptr<GrammarEngine>> engines;  // shared with the matchers on them; the last used at the end
};

Grammar::Grammar(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
Grammar::~Grammar() = default;

Result<std::shared_ptr<const Grammar>> Grammar::Compile(const GrammarPiece& piece, const GrammarLimits& limits) {
  GrammarBuilder builder(limits);
  LEM_ASSIGN_OR_RETURN(ExprId start, PieceCompiler(builder).Compile(piece, 0));
  LEM_TRY(builder.CheckLimits());
  std::vector<ExprId> rules = builder.rules();
  RuleChecker checker(builder, rules);
  LEM_ASSIGN_OR_RETURN(start, checker.Prune(start));
  LEM_TRY(checker.CheckLeftRecursion());
  LEM_TRY(builder.CheckLimits());
  if (!builder.exprs().Alive(start)) {
    LEM_TRY(builder.CheckLimits());
    return InvalidArgument("no output can match the grammar: its parts contradict each other");
  }
  LEM_TRY(builder.CheckLimits());
  const ExprId json_char = builder.json_text().AnyChar();
  auto rep = std::make_unique<Rep>(builder.exprs());
  std::vector<ExprId> roots = rules;
  roots.push_back(start);
  rep->classes = builder.exprs().Classes(roots);
  rep->rules = std::move(rules);
  rep->start = start;
  rep->json_char = json_char;
  return std::shared_ptr<const Grammar>(new Grammar(std::move(rep)));
}

size_t Grammar::MemoryBytes() const {
  const std::lock_guard lock(rep_->mutex);
  size_t bytes = rep_->exprs.MemoryBytes();
  for (const auto& engine : rep_->engines) bytes += engine->MemoryBytes();
  return bytes;
}

std::shared_ptr<GrammarEngine> Grammar::EngineFor(std::shared_ptr<const GrammarVocabulary> vocabulary) const {
  const std::lock_guard lock(rep_->mutex);
  auto& engines = rep_->engines;
  const auto at = std::ranges::find_if(
      engines, [&](const auto& engine) { return engine->vocabulary().rep().id == vocabulary->rep().id; });
  if (at != engines.end()) {
    if (!(*at)->Large()) {
      std::rotate(at, at + 1, engines.end());
      return engines.back();
    }
    engines.erase(at);
  }
  if (engines.size() >= kMaxEngines) engines.erase(engines.begin());
  engines.push_back(std::make_shared<GrammarEngine>(rep_->exprs, rep_->rules, rep_->start, rep_->json_char,
                                                    rep_->classes, std::move(vocabulary)));
  engines.back()->Prepare();
  return engines.back();
}

GrammarPiece GrammarPiece::Literal(std::string_view text) {
  return GrammarPiece(std::make_shared<const Node>(NodeOf(Kind::kLiteral, text)));
}
GrammarPiece GrammarPiece::Regex(std::string_view pattern) {
  return GrammarPiece(std::make_shared<const Node>(NodeOf(Kind::kRegex, pattern)));
}
GrammarPiece GrammarPiece::JsonSchema(std::string_view schema, JsonWhitespace whitespace) {
  Node node = NodeOf(Kind::kJsonSchema, schema);
  node.whitespace = whitespace;
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}
GrammarPiece GrammarPiece::JsonObject(JsonWhitespace whitespace) {
  Node node = NodeOf(Kind::kJsonObject, {});
  node.whitespace = whitespace;
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}
GrammarPiece GrammarPiece::JsonAny(JsonWhitespace whitespace) {
  Node node = NodeOf(Kind::kJsonAny, {});
  node.whitespace = whitespace;
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}
GrammarPiece GrammarPiece::Gbnf(std::string_view grammar) {
  return GrammarPiece(std::make_shared<const Node>(NodeOf(Kind::kGbnf, grammar)));
}
GrammarPiece GrammarPiece::Lark(std::string_view grammar) {
  return GrammarPiece(std::make_shared<const Node>(NodeOf(Kind::kLark, grammar)));
}
GrammarPiece GrammarPiece::Choice(std::vector<GrammarPiece> options) {
  Node node = NodeOf(Kind::kChoice, {});
  node.parts = std::move(options);
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}
GrammarPiece GrammarPiece::ChoiceOf(std::span<const std::string> literals) {
  std::vector<GrammarPiece> options;
  options.reserve(literals.size());
  for (const std::string& literal : literals) options.push_back(Literal(literal));
  return Choice(std::move(options));
}
GrammarPiece GrammarPiece::Sequence(std::vector<GrammarPiece> parts) {
  Node node = NodeOf(Kind::kSequence, {});
  node.parts = std::move(parts);
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}
GrammarPiece GrammarPiece::Repeat(GrammarPiece piece, uint32_t min, uint32_t max) {
  Node node = NodeOf(Kind::kRepeat, {});
  node.parts.push_back(std::move(piece));
  node.min = min;
  node.max = max;
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}
GrammarPiece GrammarPiece::Text(std::vector<std::string> without) {
  Node node = NodeOf(Kind::kText, {});
  node.without = std::move(without);
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}
GrammarPiece GrammarPiece::Token(TokenId id) {
  Node node = NodeOf(Kind::kToken, {});
  node.token = id;
  return GrammarPiece(std::make_shared<const Node>(std::move(node)));
}

}  // namespace lem
