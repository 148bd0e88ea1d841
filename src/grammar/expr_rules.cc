// Questions about whole grammars: byte classes, rules that match nothing, rules that call themselves first.
#include <algorithm>
#include <array>

#include "grammar/expr.h"

namespace lem {

namespace {

// What numbers with bounds and multiples tell apart.
void AddDigits(std::vector<ByteSet>& sets) {
  for (uint8_t byte = '0'; byte <= '9'; ++byte) sets.push_back(ByteSet::Of(byte));
  sets.push_back(ByteSet::Of('.'));
}

}  // namespace

ByteClasses ByteClasses::Of(std::span<const ByteSet> sets) {
  ByteClasses classes;
  unsigned num_classes = 1;
  for (const ByteSet& set : sets) {
    if (num_classes == 256) break;
    std::array<std::array<uint16_t, 2>, 256> renamed{};  // by class and whether it is in the set; + 1
    unsigned next = 0;
    for (unsigned byte = 0; byte < 256; ++byte) {
      uint16_t& name = renamed[classes.class_of[byte]][set.Has(static_cast<uint8_t>(byte)) ? 1 : 0];
      if (name == 0) name = static_cast<uint16_t>(++next);
      classes.class_of[byte] = static_cast<uint8_t>(name - 1);
    }
    num_classes = next;
  }
  classes.least.resize(num_classes);
  for (unsigned byte = 256; byte-- > 0;) classes.least[classes.class_of[byte]] = static_cast<uint8_t>(byte);
  return classes;
}

std::vector<ByteSet> ExprSet::SetsIn(std::span<const ExprId> exprs, const ByteSet* before,
                                     std::span<const ExprId> rules) const {
  std::vector<ByteSet> sets;
  NumberMap seen;
  std::vector<ExprId> todo(exprs.begin(), exprs.end());
  bool digits = false;
  while (!todo.empty()) {
    const ExprId at = todo.back();
    todo.pop_back();
    if (seen.Find(at) != NumberMap::kNone) continue;
    seen.Set(at, 1);
    const Node& node = nodes_[at];
    switch (node.kind) {
      case Kind::kBytes:
        sets.push_back(sets_[node.a]);
        break;
      case Kind::kConcat: {
        todo.push_back(node.a);
        const Node& head = nodes_[node.a];
        const bool stops = before != nullptr && head.kind == Kind::kBytes && sets_[head.a].IsWithin(*before);
        if (!stops) todo.push_back(node.b);
        break;
      }
      case Kind::kAlt:
      case Kind::kAnd:
        for (const ExprId child : ChildrenOf(node)) todo.push_back(child);
        break;
      case Kind::kRepeat:
      case Kind::kNot:
        todo.push_back(node.a);
        break;
      case Kind::kCall:
        if (!rules.empty()) todo.push_back(rules[node.a]);
        break;
      case Kind::kMultiple:
      case Kind::kBound:
        digits = true;
        break;
      default:
        break;
    }
  }
  if (digits) AddDigits(sets);
  return sets;
}

std::vector<ByteSet> ExprSet::SetsBefore(ExprId expr, const ByteSet& stops, std::span<const ExprId> rules) const {
  return SetsIn({&expr, 1}, &stops, rules);
}

ByteClasses ExprSet::Classes(std::span<const ExprId> exprs) const {
  return ByteClasses::Of(SetsIn(exprs, nullptr, {}));
}

ExprId ExprSet::WithoutRules(ExprId expr, const std::vector<bool>& dead, std::unordered_map<ExprId, ExprId>& memo) {
  if (!nodes_[expr].has_calls) return expr;
  if (const auto found = memo.find(expr); found != memo.end()) return found->second;
  const Node node = nodes_[expr];
  ExprId result = expr;
  switch (node.kind) {
    case Kind::kCall:
      if (dead[node.a]) result = kEmpty;
      break;
    case Kind::kConcat: {
      // Long lists: a loop, so that they do not recurse.
      std::vector<ExprId> heads;
      ExprId rest = expr;
      for (; nodes_[rest].kind == Kind::kConcat; rest = nodes_[rest].b) heads.push_back(nodes_[rest].a);
      result = WithoutRules(rest, dead, memo);
      for (size_t i = heads.size(); i-- > 0;) result = Concat(WithoutRules(heads[i], dead, memo), result);
      break;
    }
    case Kind::kAlt: {
      std::vector<ExprId> options;
      options.reserve(node.b);
      for (uint32_t i = 0; i < node.b; ++i) options.push_back(WithoutRules(children_[node.a + i], dead, memo));
      result = Alt(std::move(options));
      break;
    }
    case Kind::kRepeat:
      result = Repeat(WithoutRules(node.a, dead, memo), node.b, node.c);
      break;
    default:
      break;
  }
  memo.emplace(expr, result);
  return result;
}

bool ExprSet::Productive(ExprId expr, const std::vector<bool>& alive, std::unordered_map<ExprId, bool>& memo) const {
  const Node& node = nodes_[expr];
  if (!node.has_calls) return expr != kEmpty;
  if (const auto found = memo.find(expr); found != memo.end()) return found->second;
  bool productive = false;
  switch (node.kind) {
    case Kind::kCall:
      productive = alive[node.a];
      break;
    case Kind::kConcat:
      productive = AllOfConcat(expr, [&](ExprId part) { return Productive(part, alive, memo); });
      break;
    case Kind::kAlt:
      productive = std::ranges::any_of(ChildrenOf(node), [&](ExprId child) { return Productive(child, alive, memo); });
      break;
    case Kind::kRepeat:
      productive = node.b == 0 || Productive(node.a, alive, memo);
      break;
    default:
      break;
  }
  memo.emplace(expr, productive);
  return productive;
}

bool ExprSet::NullableWith(ExprId expr, const std::vector<bool>& nullable_rules,
                           std::unordered_map<ExprId, bool>& memo) const {
  const Node& node = nodes_[expr];
  if (node.nullable || !node.has_calls) return node.nullable;
  if (const auto found = memo.find(expr); found != memo.end()) return found->second;
  bool nullable = false;
  switch (node.kind) {
    case Kind::kCall:
      nullable = nullable_rules[node.a];
      break;
    case Kind::kConcat:
      nullable = AllOfConcat(expr, [&](ExprId part) { return NullableWith(part, nullable_rules, memo); });
      break;
    case Kind::kAlt:
      nullable = std::ranges::any_of(ChildrenOf(node),
                                     [&](ExprId child) { return NullableWith(child, nullable_rules, memo); });
      break;
    case Kind::kRepeat:
      nullable = NullableWith(node.a, nullable_rules, memo);
      break;
    default:
      break;
  }
  memo.emplace(expr, nullable);
  return nullable;
}

void ExprSet::LeftRules(ExprId expr, const std::vector<bool>& nullable_rules, std::vector<RuleId>& out,
                        std::vector<bool>& memo) const {
  std::unordered_map<ExprId, bool> nullable_memo;
  std::vector<ExprId> todo{expr};
  memo.assign(nodes_.size(), false);
  while (!todo.empty()) {
    const ExprId at = todo.back();
    todo.pop_back();
    const Node& node = nodes_[at];
    if (!node.has_calls || memo[at]) continue;
    memo[at] = true;
    switch (node.kind) {
      case Kind::kCall:
        out.push_back(node.a);
        break;
      case Kind::kConcat:
        todo.push_back(node.a);
        if (NullableWith(node.a, nullable_rules, nullable_memo)) todo.push_back(node.b);
        break;
      case Kind::kAlt:
        for (const ExprId child : ChildrenOf(node)) todo.push_back(child);
        break;
      case Kind::kRepeat:
        todo.push_back(node.a);
        break;
      default:
        break;
    }
  }
}

}  // namespace lem
