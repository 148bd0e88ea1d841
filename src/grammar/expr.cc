#include "grammar/expr.h"

#include <algorithm>
#include <bit>

#include "text/flat_index.h"

namespace lem {
namespace {

// Alternatives of alternatives are joined up to this many: all of them would cost the square of a long list.
constexpr size_t kMaxJoined = 32;

uint64_t Mix(uint64_t hash, uint64_t value) { return MixBits(hash ^ value, 0x9E3779B97F4A7C15) + value; }

}  // namespace

ExprSet::ExprSet(size_t max_nodes) : node_table_(1024, kNoMax), max_nodes_(max_nodes) {
  Intern({.kind = Kind::kEmpty});
  Intern({.kind = Kind::kEpsilon, .nullable = true});
  Intern({.kind = Kind::kNot, .nullable = true, .a = kEmpty});
}

ExprId ExprSet::Intern(Node node, std::span<const ExprId> children) {
  const bool has_children = node.kind == Kind::kAlt || node.kind == Kind::kAnd;
  uint64_t hash = Mix(static_cast<uint64_t>(node.kind), node.c | uint64_t{node.d} << 32);
  if (has_children) {
    for (const ExprId child : children) hash = Mix(hash, child);
  } else {
    hash = Mix(hash, node.a | uint64_t{node.b} << 32);
  }
  const auto same = [&](const Node& other) {
    if (other.kind != node.kind || other.c != node.c || other.d != node.d) return false;
    if (has_children) return std::ranges::equal(ChildrenOf(other), children);
    return other.a == node.a && other.b == node.b;
  };
  size_t at = hash & (node_table_.size() - 1);
  for (; node_table_[at] != kNoMax; at = (at + 1) & (node_table_.size() - 1)) {
    if (same(nodes_[node_table_[at]])) return node_table_[at];
  }
  if (nodes_.size() >= max_nodes_) {
    failed_ = true;
    return kEmpty;
  }
  if (has_children) {
    node.a = static_cast<uint32_t>(children_.size());
    node.b = static_cast<uint32_t>(children.size());
    children_.insert(children_.end(), children.begin(), children.end());
  }
  const ExprId id = static_cast<ExprId>(nodes_.size());
  nodes_.push_back(node);
  node_table_[at] = id;
  if (nodes_.size() * 2 > node_table_.size()) {
    std::vector<ExprId> old(node_table_.size() * 2, kNoMax);
    old.swap(node_table_);
    for (const ExprId expr : old) {
      if (expr == kNoMax) continue;
      const Node& entry = nodes_[expr];
      uint64_t rehash = Mix(static_cast<uint64_t>(entry.kind), entry.c | uint64_t{entry.d} << 32);
      if (entry.kind == Kind::kAlt || entry.kind == Kind::kAnd) {
        for (const ExprId child : ChildrenOf(entry)) rehash = Mix(rehash, child);
      } else {
        rehash = Mix(rehash, entry.a | uint64_t{entry.b} << 32);
      }
      size_t to = rehash & (node_table_.size() - 1);
      while (node_table_[to] != kNoMax) to = (to + 1) & (node_table_.size() - 1);
      node_table_[to] = expr;
    }
  }
  return id;
}

uint32_t ExprSet::InternSet(const ByteSet& set) {
  uint64_t hash = 0;
  for (const uint64_t word : set.words) hash = Mix(hash, word);
  std::vector<uint32_t>& ids = set_ids_[hash];
  for (const uint32_t id : ids) {
    if (sets_[id] == set) return id;
  }
  ids.push_back(static_cast<uint32_t>(sets_.size()));
  sets_.push_back(set);
  return ids.back();
}

ExprId ExprSet::Bytes(const ByteSet& set) {
  if (set.Empty()) return kEmpty;
  return Intern({.kind = Kind::kBytes, .a = InternSet(set)});
}

ExprId ExprSet::Literal(std::string_view text) {
  ExprId expr = kEpsilon;
  for (size_t i = text.size(); i-- > 0;) expr = Concat(Byte(static_cast<uint8_t>(text[i])), expr);
  return expr;
}

ExprId ExprSet::OneOf(std::vector<std::string> texts) {
  std::ranges::sort(texts);
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return OneOfTree(texts, 0);
}

ExprId ExprSet::OneOfTree(std::span<const std::string> sorted, size_t depth) {
  if (sorted.empty()) return kEmpty;
  if (sorted.size() == 1) return Literal(std::string_view(sorted[0]).substr(depth));
  size_t common = depth;  // of the first and the last, so of all
  while (common < sorted.front().size() && common < sorted.back().size() &&
         sorted.front()[common] == sorted.back()[common]) {
    ++common;
  }
  std::vector<ExprId> options;
  size_t begin = 0;
  if (sorted[0].size() == common) {
    options.push_back(kEpsilon);
    begin = 1;
  }
  while (begin < sorted.size()) {
    size_t end = begin + 1;
    while (end < sorted.size() && sorted[end][common] == sorted[begin][common]) ++end;
    options.push_back(Concat(Byte(static_cast<uint8_t>(sorted[begin][common])),
                             OneOfTree(sorted.subspan(begin, end - begin), common + 1)));
    begin = end;
  }
  return Concat(Literal(std::string_view(sorted[0]).substr(depth, common - depth)), Alt(std::move(options)));
}

ExprId ExprSet::Concat(ExprId first, ExprId second) {
  if (first == kEmpty || second == kEmpty) return kEmpty;
  if (first == kEpsilon) return second;
  if (second == kEpsilon) return first;
  if (nodes_[first].kind == Kind::kConcat) {
    // To the right: (a b) c is a (b c).
    std::vector<ExprId> heads;
    ExprId rest = first;
    while (nodes_[rest].kind == Kind::kConcat) {
      heads.push_back(nodes_[rest].a);
      rest = nodes_[rest].b;
    }
    ExprId expr = Concat(rest, second);
    while (!heads.empty()) {
      expr = Concat(heads.back(), expr);
      heads.pop_back();
    }
    return expr;
  }
  const Node &a = nodes_[first], &b = nodes_[second];
  return Intern({.kind = Kind::kConcat,
                 .nullable = a.nullable && b.nullable,
                 .has_calls = a.has_calls || b.has_calls,
                 .has_bool = a.has_bool || b.has_bool,
                 .has_tokens = a.has_tokens || b.has_tokens,
                 .a = first,
                 .b = second});
}

ExprId ExprSet::ConcatAll(std::span<const ExprId> parts) {
  ExprId expr = kEpsilon;
  for (size_t i = parts.size(); i-- > 0;) expr = Concat(parts[i], expr);  // each is the head of a list
  return expr;
}

ExprId ExprSet::Alt(ExprId a, ExprId b) {
  if (a == b || b == kEmpty) return a;
  if (a == kEmpty) return b;
  return Alt(std::vector<ExprId>{a, b});
}

ExprId ExprSet::Alt(std::vector<ExprId> options) {
  for (size_t i = 0; i < options.size(); ++i) {
    const Node node = nodes_[options[i]];
    if (node.kind != Kind::kAlt || options.size() + node.b > kMaxJoined) continue;
    const std::span<const ExprId> nested = ChildrenOf(node);
    options[i] = nested[0];
    options.insert(options.end(), nested.begin() + 1, nested.end());
  }
  ByteSet bytes;
  std::erase_if(options, [&](ExprId option) {
    if (nodes_[option].kind != Kind::kBytes) return option == kEmpty;
    bytes |= sets_[nodes_[option].a];
    return true;
  });
  if (!bytes.Empty()) options.push_back(Bytes(bytes));
  std::ranges::sort(options);
  options.erase(std::unique(options.begin(), options.end()), options.end());
  if (options.empty()) return kEmpty;
  if (std::ranges::binary_search(options, kAll)) return kAll;
  // Epsilon adds nothing to what may be empty anyway.
  if (options.size() > 1 && options[0] == kEpsilon &&
      std::any_of(options.begin() + 1, options.end(), [&](ExprId option) { return nodes_[option].nullable; })) {
    options.erase(options.begin());
  }
  if (options.size() == 1) return options[0];
  Node node{.kind = Kind::kAlt};
  for (const ExprId option : options) {
    const Node& child = nodes_[option];
    node.nullable |= child.nullable;
    node.has_calls |= child.has_calls;
    node.has_bool |= child.has_bool;
    node.has_tokens |= child.has_tokens;
  }
  return Intern(node, options);
}

ExprId ExprSet::Repeat(ExprId body, uint32_t min, uint32_t max) {
  if (max == 0 || body == kEpsilon) return kEpsilon;
  if (body == kEmpty) return min == 0 ? kEpsilon : kEmpty;
  if (min == 1 && max == 1) return body;
  if (nodes_[body].nullable) min = 0;
  // (r*)* is r*; (r?)* is r*.
  const Node inner = nodes_[body];
  if (inner.kind == Kind::kRepeat && inner.b == 0 && min == 0) {
    if (inner.c == kNoMax) return body;
    if (max == kNoMax) return Repeat(inner.a, 0, kNoMax);
  }
  return Intern({.kind = Kind::kRepeat,
                 .nullable = min == 0,
                 .has_calls = inner.has_calls,
                 .has_bool = inner.has_bool,
                 .has_tokens = inner.has_tokens,
                 .a = body,
                 .b = min,
                 .c = max});
}

ExprId ExprSet::CallRule(RuleId rule) { return Intern({.kind = Kind::kCall, .has_calls = true, .a = rule}); }

ExprId ExprSet::Token(TokenId token) {
  return Intern({.kind = Kind::kToken, .has_tokens = true, .a = static_cast<uint32_t>(token)});
}

ExprId ExprSet::And(ExprId a, ExprId b) { return And(std::vector<ExprId>{a, b}); }

ExprId ExprSet::And(std::vector<ExprId> parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const Node node = nodes_[parts[i]];
    if (node.kind != Kind::kAnd) continue;
    const std::span<const ExprId> nested = ChildrenOf(node);
    parts[i] = nested[0];
    parts.insert(parts.end(), nested.begin() + 1, nested.end());
  }
  std::ranges::sort(parts);
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  if (!parts.empty() && parts[0] == kEmpty) return kEmpty;
  std::erase(parts, kAll);
  if (parts.empty()) return kAll;
  if (parts.size() == 1) return parts[0];
  const bool nullable = std::ranges::all_of(parts, [&](ExprId part) { return nodes_[part].nullable; });
  if (parts[0] == kEpsilon) return nullable ? kEpsilon : kEmpty;
  // What one part rules out, another may have ruled in: a & !a.
  for (const ExprId part : parts) {
    if (nodes_[part].kind == Kind::kNot && std::ranges::binary_search(parts, nodes_[part].a)) return kEmpty;
  }
  return Intern({.kind = Kind::kAnd, .nullable = nullable, .has_bool = true}, parts);
}

ExprId ExprSet::Not(ExprId body) {
  if (nodes_[body].kind == Kind::kNot) return nodes_[body].a;
  return Intern({.kind = Kind::kNot, .nullable = !nodes_[body].nullable, .has_bool = true, .a = body});
}

size_t ExprSet::MemoryBytes() const {
  return nodes_.capacity() * sizeof(Node) + children_.capacity() * 4 + node_table_.capacity() * 4 +
         first_.capacity() * 4 + derivatives_.MemoryBytes() + alive_.MemoryBytes() + opened_.MemoryBytes() +
         beyond_ascii_.MemoryBytes();
}

std::optional<std::pair<uint32_t, uint32_t>> ExprSet::AsRepeat(ExprId expr, ExprId body, ExprId end) const {
  if (expr == end) return std::pair(0U, 0U);
  const Node& node = nodes_[expr];
  if (node.kind != Kind::kConcat || node.b != end) return std::nullopt;
  if (node.a == body) return std::pair(1U, 1U);
  const Node& repeat = nodes_[node.a];
  if (repeat.kind != Kind::kRepeat || repeat.a != body) return std::nullopt;
  return std::pair(repeat.b, repeat.c);
}

bool ExprSet::IsFinite(ExprId expr, int depth) const {
  constexpr int kMaxDepth = 64;
  for (; depth < kMaxDepth; ++depth) {
    const Node& node = nodes_[expr];
    switch (node.kind) {
      case Kind::kEmpty:
      case Kind::kEpsilon:
      case Kind::kBytes:
        return true;
      case Kind::kConcat:
        if (!IsFinite(node.a, depth + 1)) return false;
        expr = node.b;  // a name: no recursion for its length
        --depth;
        continue;
      case Kind::kAlt:
        return std::ranges::all_of(ChildrenOf(node), [&](ExprId child) { return IsFinite(child, depth + 1); });
      case Kind::kRepeat:
        return node.c != kNoMax && IsFinite(node.a, depth + 1);
      default:
        return false;
    }
  }
  return false;
}

std::optional<ExprId> ExprSet::AsAllBut(ExprId expr, ExprId body, ExprId end) const {
  const Node& node = nodes_[expr];
  if (node.kind != Kind::kConcat || node.b != end || nodes_[node.a].kind != Kind::kAnd) return std::nullopt;
  const std::span<const ExprId> parts = ChildrenOf(nodes_[node.a]);
  if (parts.size() != 2) return std::nullopt;
  for (const size_t i : {0, 1}) {
    const Node &text = nodes_[parts[i]], &without = nodes_[parts[1 - i]];
    if (text.kind == Kind::kRepeat && text.a == body && text.b == 0 && text.c == kNoMax && without.kind == Kind::kNot &&
        IsFinite(without.a, 0)) {
      return without.a;
    }
  }
  return std::nullopt;
}

bool ExprSet::Matches(ExprId expr, std::string_view text) {
  for (const char byte : text) {
    expr = Derive(expr, static_cast<uint8_t>(byte));
    if (expr == kEmpty) return false;
  }
  return Nullable(expr);
}

}  // namespace lem
