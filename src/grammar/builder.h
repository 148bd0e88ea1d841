// A grammar while it is put together: expressions, rules, limits. Not thread-safe.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "grammar/code_points.h"
#include "grammar/expr.h"
#include "grammar/grammar.h"

namespace lem {

class GrammarBuilder {
 public:
  explicit GrammarBuilder(const GrammarLimits& limits)
      : exprs_(limits.max_nodes),
        utf8_(exprs_, TextForm::kUtf8),
        json_text_(exprs_, TextForm::kJsonString),
        limits_(limits),
        begin_(std::chrono::steady_clock::now()) {}
  GrammarBuilder(const GrammarBuilder&) = delete;
  GrammarBuilder& operator=(const GrammarBuilder&) = delete;

  ExprSet& exprs() { return exprs_; }
  CodePointCoder& utf8() { return utf8_; }
  CodePointCoder& json_text() { return json_text_; }  // inside the quotes
  const GrammarLimits& limits() const { return limits_; }

  // A rule to be called before it has its body; `name` is for messages.
  RuleId AddRule(std::string name) {
    rules_.push_back(kEmpty);
    names_.push_back(std::move(name));
    return static_cast<RuleId>(rules_.size() - 1);
  }
  void SetRule(RuleId rule, ExprId body) { rules_[rule] = body; }
  // A call of a rule of this body; equal bodies are one rule, whose masks are shared.
  ExprId AsRule(ExprId body);
  const std::vector<ExprId>& rules() const { return rules_; }
  const std::string& RuleName(RuleId rule) const { return names_[rule]; }

  // InvalidArgument if a limit of size or time is passed; asked now and then while building.
  Status CheckLimits() const;

  // Any JSON: a value, an object, the inside of a string with its quotes, a number.
  ExprId JsonSpace(JsonWhitespace whitespace);
  ExprId JsonAny(JsonWhitespace whitespace);
  ExprId JsonAnyObject(JsonWhitespace whitespace);
  ExprId JsonAnyArray(JsonWhitespace whitespace);
  ExprId JsonString();
  ExprId JsonNumber();

 private:
  void MakeJson(JsonWhitespace whitespace);
  struct JsonRules {
    bool made = false;
    RuleId value = 0, object = 0, array = 0;
  };

  ExprSet exprs_;
  CodePointCoder utf8_, json_text_;
  std::vector<ExprId> rules_;
  std::vector<std::string> names_;
  std::unordered_map<ExprId, RuleId> rule_of_body_;
  JsonRules json_[2];
  GrammarLimits limits_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace lem
