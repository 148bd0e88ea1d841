// Opening of counters: states that differ in how often something may still be repeated, where no token can come to the
// end of it, are one state to a mask.
#include <algorithm>

#include "grammar/expr.h"

namespace lem {
namespace {

// Expressions nested deeper are left as they are.
constexpr int kMaxOpenDepth = 500;

}  // namespace

ExprId ExprSet::Opened(ExprId expr, const Horizon& horizon) {
  const Node& node = nodes_[expr];
  switch (node.kind) {  // the cheap ones are not worth remembering
    case Kind::kConcat:
    case Kind::kAlt:
    case Kind::kRepeat:
    case Kind::kAnd:
      break;
    default:
      return expr;
  }
  if (const uint32_t found = opened_.Find(expr); found != NumberMap::kNone) return found;
  if (depth_ > kMaxOpenDepth) return expr;
  ++depth_;
  const ExprId opened = OpenedNode(expr, horizon);
  --depth_;
  opened_.Set(expr, opened);
  return opened;
}

ExprId ExprSet::OpenedNode(ExprId expr, const Horizon& horizon) {
  const Node node = nodes_[expr];  // a copy: nodes_ grows
  switch (node.kind) {
    case Kind::kConcat: {
      // A list: a loop, so that long ones do not recurse.
      std::vector<ExprId> parts;
      ExprId rest = expr;
      for (; nodes_[rest].kind == Kind::kConcat && opened_.Find(rest) == NumberMap::kNone; rest = nodes_[rest].b) {
        parts.push_back(rest);
      }
      ExprId opened = Opened(rest, horizon);
      for (size_t i = parts.size(); i-- > 0;) {
        opened = Concat(Opened(nodes_[parts[i]].a, horizon), opened);
        opened_.Set(parts[i], opened);
      }
      return opened;
    }
    case Kind::kAlt: {
      std::vector<ExprId> options;
      options.reserve(node.b);
      for (uint32_t i = 0; i < node.b; ++i) options.push_back(Opened(children_[node.a + i], horizon));
      return Alt(std::move(options));
    }
    case Kind::kRepeat: {
      // Each time takes a byte at least: neither end comes into sight.
      const uint32_t min = std::min(node.b, horizon.bytes + 1), max = node.c > horizon.bytes ? kNoMax : node.c;
      return Repeat(Opened(node.a, horizon), min, max);
    }
    case Kind::kAnd:
      return OpenedAnd(expr, horizon);
    default:
      return expr;
  }
}

// {0,n} of any character and what has a short end everywhere: as long as `n` has room for a token and for that end, it
// says nothing about the next token. Parts that might exclude each other in another way are left as they are.
ExprId ExprSet::OpenedAnd(ExprId expr, const Horizon& horizon) {
  const Node node = nodes_[expr];
  if (node.b != 2) return expr;
  for (const uint32_t i : {0U, 1U}) {
    const ExprId counted = children_[node.a + i], other = children_[node.a + 1 - i];
    const Node repeat = nodes_[counted];
    if (repeat.kind != Kind::kRepeat || repeat.a != horizon.any_char || repeat.b != 0 || repeat.c == kNoMax) continue;
    const std::optional<Shortest> shortest = ShortestOf(other, 0);
    if (!shortest || repeat.c < horizon.bytes + shortest->rest) continue;
    return And(Repeat(repeat.a, 0, kNoMax), other);
  }
  return expr;
}

bool ExprSet::KeepsAny(ExprId expr, ExprId any_char) const {
  for (int steps = 0; steps < kMaxOpenDepth; ++steps) {
    const Node& node = nodes_[expr];
    if (node.has_bool) return false;
    switch (node.kind) {
      case Kind::kRepeat:
        return node.a == any_char && node.b <= 1 && node.c == kNoMax;
      case Kind::kAlt:
        return std::ranges::any_of(ChildrenOf(node), [&](ExprId child) {
          return nodes_[child].kind != Kind::kAlt && KeepsAny(child, any_char);
        });
      case Kind::kConcat:
        expr = node.a;
        continue;
      default:
        return false;
    }
  }
  return false;
}

std::optional<ExprSet::Shortest> ExprSet::ShortestOf(ExprId expr, int depth) const {
  if (depth > kMaxOpenDepth) return std::nullopt;
  const Node& node = nodes_[expr];
  switch (node.kind) {
    case Kind::kEpsilon:
      return Shortest{0, 0};
    case Kind::kBytes:
      return Shortest{1, 1};
    case Kind::kConcat: {
      Shortest sum{0, 0};
      std::vector<ExprId> parts;
      for (; nodes_[expr].kind == Kind::kConcat; expr = nodes_[expr].b) parts.push_back(nodes_[expr].a);
      parts.push_back(expr);
      for (size_t i = parts.size(); i-- > 0;) {
        const std::optional<Shortest> part = ShortestOf(parts[i], depth + 1);
        if (!part) return std::nullopt;
        sum = {part->whole + sum.whole, std::max(part->rest + sum.whole, sum.rest)};
      }
      return sum;
    }
    case Kind::kAlt: {
      Shortest all{UINT32_MAX, 0};
      for (const ExprId child : ChildrenOf(node)) {
        const std::optional<Shortest> option = ShortestOf(child, depth + 1);
        if (!option) return std::nullopt;
        all = {std::min(all.whole, option->whole), std::max(all.rest, option->rest)};
      }
      return all;
    }
    case Kind::kRepeat: {
      const std::optional<Shortest> body = ShortestOf(node.a, depth + 1);
      if (!body) return std::nullopt;
      const uint64_t whole = body->whole * node.b;
      return Shortest{std::min<uint64_t>(whole, UINT32_MAX),
                      std::min<uint64_t>(body->rest + (node.b > 0 ? whole - body->whole : 0), UINT32_MAX)};
    }
    default:
      return std::nullopt;
  }
}

}  // namespace lem
