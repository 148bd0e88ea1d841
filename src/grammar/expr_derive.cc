// Derivatives of expressions and what is asked of them while a grammar runs.
#include <algorithm>

#include "grammar/expr.h"
#include "grammar/plain_trie.h"

namespace lem {
namespace {

// Derivatives recurse into the heads of an expression; lists longer than this fail instead of ending the stack.
constexpr int kMaxDeriveDepth = 1000;
// States looked at to find whether an intersection is empty.
constexpr size_t kMaxAliveStates = 20'000, kMaxAsciiStates = 2'000;

// States that the characters beyond ASCII may lead through side by side before they count as different.
constexpr size_t kMaxBeyondStates = 16;

enum Order : uint32_t { kEqual = 0, kBelow = 1, kAbove = 2 };

Order OrderOf(unsigned digit, unsigned other) { return digit == other ? kEqual : digit < other ? kBelow : kAbove; }

}  // namespace

ExprId ExprSet::Derive(ExprId expr, uint8_t byte) {
  const Node& node = nodes_[expr];
  switch (node.kind) {  // the cheap ones are not worth remembering
    case Kind::kEmpty:
    case Kind::kEpsilon:
    case Kind::kCall:
    case Kind::kToken:
      return kEmpty;
    case Kind::kBytes:
      return sets_[node.a].Has(byte) ? kEpsilon : kEmpty;
    case Kind::kNot:
      if (expr == kAll) return kAll;
      break;
    default:
      break;
  }
  const uint64_t key = uint64_t{expr} << 8 | byte;
  if (const uint32_t found = derivatives_.Find(key); found != NumberMap::kNone) return found;
  if (depth_ > kMaxDeriveDepth) {
    failed_ = true;
    return kEmpty;
  }
  ++depth_;
  const ExprId derived = DeriveNode(expr, byte);
  --depth_;
  if (derivatives_.size() >= max_nodes_) {
    failed_ = true;
    return kEmpty;
  }
  derivatives_.Set(key, derived);
  return derived;
}

ExprId ExprSet::DeriveNode(ExprId expr, uint8_t byte) {
  const Node node = nodes_[expr];  // a copy: nodes_ grows
  switch (node.kind) {
    case Kind::kConcat: {
      const ExprId head = Concat(Derive(node.a, byte), node.b);
      return nodes_[node.a].nullable ? Alt(head, Derive(node.b, byte)) : head;
    }
    case Kind::kAlt:
    case Kind::kAnd: {
      std::vector<ExprId> derived;
      for (uint32_t i = 0; i < node.b; ++i) {
        const ExprId child = Derive(children_[node.a + i], byte);
        if (child == kEmpty && node.kind == Kind::kAnd) return kEmpty;
        if (child != kEmpty) derived.push_back(child);
      }
      return node.kind == Kind::kAlt ? Alt(std::move(derived)) : And(std::move(derived));
    }
    case Kind::kRepeat: {
      const ExprId head = Derive(node.a, byte);
      if (head == kEmpty) return kEmpty;
      return Concat(head, Repeat(node.a, node.b == 0 ? 0 : node.b - 1, node.c == kNoMax ? kNoMax : node.c - 1));
    }
    case Kind::kNot:
      return Not(Derive(node.a, byte));
    case Kind::kMultiple:
      return DeriveMultiple(node, byte);
    case Kind::kBound:
      return DeriveBound(node, byte);
    default:
      return kEmpty;
  }
}

std::optional<ExprId> ExprSet::DeriveBeyondAscii(ExprId expr) {
  constexpr uint32_t kDepends = kNoMax - 1;
  const auto known = [](uint32_t value) { return value == kDepends ? std::nullopt : std::optional<ExprId>(value); };
  if (const uint32_t found = beyond_ascii_.Find(expr); found != NumberMap::kNone) return known(found);
  if (depth_ > kMaxDeriveDepth) return std::nullopt;
  ++depth_;
  const std::optional<ExprId> derived = DeriveBeyondAsciiNode(expr);
  --depth_;
  beyond_ascii_.Set(expr, derived.value_or(kDepends));
  return derived;
}

std::optional<ExprId> ExprSet::DeriveBeyondAsciiNode(ExprId expr) {
  const Node node = nodes_[expr];  // a copy: nodes_ grows
  switch (node.kind) {
    case Kind::kBytes:
      // A byte is no character; as the first of one it is looked at where it stands beside the others.
      if (sets_[node.a].IsWithin(ByteSet::Range(0, 0x7F))) return kEmpty;
      return std::nullopt;
    case Kind::kConcat: {
      const std::optional<ExprId> head = DeriveBeyondAscii(node.a);
      if (!head) return std::nullopt;
      const ExprId first = Concat(*head, node.b);
      if (!nodes_[node.a].nullable) return first;
      const std::optional<ExprId> rest = DeriveBeyondAscii(node.b);
      return rest ? std::optional(Alt(first, *rest)) : std::nullopt;
    }
    case Kind::kAlt:
    case Kind::kAnd: {
      std::vector<ExprId> derived;
      for (uint32_t i = 0; i < node.b; ++i) {
        const std::optional<ExprId> child = DeriveBeyondAscii(children_[node.a + i]);
        if (!child) return TryBeyondAscii(expr);
        derived.push_back(*child);
      }
      return node.kind == Kind::kAlt ? Alt(std::move(derived)) : And(std::move(derived));
    }
    case Kind::kRepeat: {
      const std::optional<ExprId> head = DeriveBeyondAscii(node.a);
      if (!head || *head == kEmpty) return head;
      return Concat(*head, Repeat(node.a, node.b == 0 ? 0 : node.b - 1, node.c == kNoMax ? kNoMax : node.c - 1));
    }
    case Kind::kNot: {
      const std::optional<ExprId> body = DeriveBeyondAscii(node.a);
      return body ? std::optional(Not(*body)) : std::nullopt;
    }
    default:  // calls and tokens are others' business; digits are ASCII
      return kEmpty;
  }
}

// By all their bytes: characters are alternatives of such sequences.
std::optional<ExprId> ExprSet::TryBeyondAscii(ExprId expr) {
  const PlainUtf8& utf8 = PlainUtf8::Get();
  std::vector<std::vector<ExprId>> at(utf8.num_states);
  at[0].push_back(expr);
  std::optional<ExprId> after;
  bool some_end_early = false;
  for (const PlainUtf8::Step& step : utf8.steps) {
    for (const ExprId state : at[step.from]) {
      for (unsigned byte = step.low; byte <= step.high; ++byte) {
        const ExprId to = Derive(state, static_cast<uint8_t>(byte));
        if (to == kEmpty) {
          some_end_early = true;
          continue;
        }
        if (step.to == 0) {
          if (after.value_or(to) != to) return std::nullopt;
          after = to;
          continue;
        }
        if (nodes_[to].nullable) return std::nullopt;
        std::vector<ExprId>& list = at[step.to];
        if (std::ranges::find(list, to) == list.end()) list.push_back(to);
        if (list.size() > kMaxBeyondStates) return std::nullopt;
      }
    }
  }
  if (after && some_end_early) return std::nullopt;
  return after.value_or(kEmpty);
}

ExprId ExprSet::MultipleOf(uint32_t multiple, uint32_t fraction_digits) {
  return Intern({.kind = Kind::kMultiple, .nullable = true, .has_bool = true, .a = multiple, .b = fraction_digits});
}

// The value so far times 10^(fraction digits seen) is c modulo a; b digits after the point still count; d: after it.
ExprId ExprSet::DeriveMultiple(const Node& node, uint8_t byte) {
  Node next = node;
  if (byte == '.' && node.d == 0) {
    next.d = 1;
  } else if (byte >= '0' && byte <= '9') {
    const unsigned digit = byte - '0';
    if (node.d == 1) {
      // Digits past those that count are zeros.
      if (node.b == 0) return digit == 0 ? Intern(node) : kEmpty;
      --next.b;
    }
    next.c = static_cast<uint32_t>((uint64_t{node.c} * 10 + digit) % node.a);
  } else {
    return kEmpty;
  }
  uint64_t residue = next.c;
  for (uint32_t i = 0; i < next.b; ++i) residue = residue * 10 % next.a;
  next.nullable = residue == 0;
  return Intern(next);
}

ExprId ExprSet::Compared(Comparison comparison, const Decimal& bound) {
  auto found = std::ranges::find(bounds_, bound);
  if (found == bounds_.end()) found = bounds_.insert(bounds_.end(), bound);
  return MakeBound(static_cast<uint32_t>(found - bounds_.begin()), 0, static_cast<uint32_t>(comparison), kEqual, 0);
}

// `seen` digits of this phase (0: before the point, 1: after it) were read, and compared in `order` with the bound's.
ExprId ExprSet::MakeBound(uint32_t bound, uint32_t seen, uint32_t comparison, uint32_t order, uint32_t phase) {
  const auto kind = static_cast<Comparison>(comparison);
  const bool upper = kind == Comparison::kAtMost || kind == Comparison::kLess;
  const size_t length = bounds_[bound].whole.size();
  const bool longer = phase == 0 && seen > length;
  // More digits can only raise the value, and past the length of the bound no shortness makes up for them.
  const bool above = longer || (order == kAbove && (phase == 1 || seen == length));
  if (above) return upper ? kEmpty : kAll;
  if (phase == 1 && order == kBelow) return upper ? kAll : kEmpty;
  uint32_t end = order;
  if (phase == 0 && seen < length) end = kBelow;
  if (end == kEqual && (phase == 0 || seen < bounds_[bound].fraction.size())) {
    if (phase == 1 || !bounds_[bound].fraction.empty()) end = kBelow;
  }
  const bool nullable =
      end == kEqual ? kind == Comparison::kAtMost || kind == Comparison::kAtLeast : (end == kBelow) == upper;
  return Intern({.kind = Kind::kBound,
                 .nullable = nullable,
                 .has_bool = true,
                 .a = bound,
                 .b = seen,
                 .c = comparison,
                 .d = order | phase << 8});
}

ExprId ExprSet::DeriveBound(const Node& node, uint8_t byte) {
  const Decimal& bound = bounds_[node.a];
  const uint32_t phase = node.d >> 8;
  uint32_t order = node.d & 0xFF;
  uint32_t seen = node.b;
  if (byte == '.' && phase == 0) {
    if (seen < bound.whole.size()) order = kBelow;
    return MakeBound(node.a, 0, node.c, order, 1);
  }
  if (byte < '0' || byte > '9') return kEmpty;
  const std::string& digits = phase == 0 ? bound.whole : bound.fraction;
  if (order == kEqual) {
    const char other = seen < digits.size() ? digits[seen] : '0';
    if (phase == 1 || seen < digits.size()) order = OrderOf(byte, static_cast<uint8_t>(other));
  }
  if (phase == 0 || seen < digits.size()) ++seen;
  return MakeBound(node.a, seen, node.c, order, phase);
}

const ByteSet& ExprSet::First(ExprId expr) {
  if (first_.size() < nodes_.size()) first_.resize(nodes_.size());
  if (first_[expr] == 0) {
    const uint32_t set = InternSet(FirstOf(expr));
    first_[expr] = set + 1;
  }
  return sets_[first_[expr] - 1];
}

ByteSet ExprSet::FirstOf(ExprId expr) {
  if (depth_ > kMaxDeriveDepth) return ByteSet::All();
  ++depth_;
  ByteSet set;
  // Concatenations are lists: a loop, so that long literals do not recurse.
  for (bool more = true; more;) {
    more = false;
    const Node node = nodes_[expr];
    switch (node.kind) {
      case Kind::kBytes:
        set |= sets_[node.a];
        break;
      case Kind::kConcat:
        set |= First(node.a);
        more = nodes_[node.a].nullable;
        expr = node.b;
        break;
      case Kind::kAlt:
        for (uint32_t i = 0; i < node.b; ++i) set |= First(children_[node.a + i]);
        break;
      case Kind::kAnd: {
        ByteSet all = ByteSet::All();
        for (uint32_t i = 0; i < node.b; ++i) all &= First(children_[node.a + i]);
        set |= all;
        break;
      }
      case Kind::kRepeat:
        set |= First(node.a);
        break;
      case Kind::kNot:
        set = ByteSet::All();
        break;
      case Kind::kMultiple:
      case Kind::kBound:
        set |= ByteSet::Range('0', '9');
        set.Add('.');
        break;
      default:
        break;
    }
  }
  --depth_;
  return set;
}

std::vector<ExprSet::Call> ExprSet::Calls(ExprId expr) {
  std::vector<Call> calls;
  if (!nodes_[expr].has_calls) return calls;
  if (depth_ > kMaxDeriveDepth) {
    failed_ = true;
    return calls;
  }
  ++depth_;
  const auto add = [&](const Call& call) {
    for (Call& known : calls) {
      if (known.rule == call.rule) {
        known.then = Alt(known.then, call.then);
        return;
      }
    }
    calls.push_back(call);
  };
  const Node node = nodes_[expr];
  switch (node.kind) {
    case Kind::kCall:
      add({node.a, kEpsilon});
      break;
    case Kind::kConcat:
      for (const Call& call : Calls(node.a)) add({call.rule, Concat(call.then, node.b)});
      if (nodes_[node.a].nullable) {
        for (const Call& call : Calls(node.b)) add(call);
      }
      break;
    case Kind::kAlt:
      for (uint32_t i = 0; i < node.b; ++i) {
        for (const Call& call : Calls(children_[node.a + i])) add(call);
      }
      break;
    case Kind::kRepeat: {
      const ExprId rest = Repeat(node.a, node.b == 0 ? 0 : node.b - 1, node.c == kNoMax ? kNoMax : node.c - 1);
      for (const Call& call : Calls(node.a)) add({call.rule, Concat(call.then, rest)});
      break;
    }
    default:
      break;
  }
  --depth_;
  return calls;
}

std::vector<ExprSet::TokenStep> ExprSet::Tokens(ExprId expr) {
  std::vector<TokenStep> steps;
  if (!nodes_[expr].has_tokens) return steps;
  if (depth_ > kMaxDeriveDepth) {
    failed_ = true;
    return steps;
  }
  ++depth_;
  const Node node = nodes_[expr];
  const auto add_all = [&](ExprId from, ExprId then) {
    for (const TokenStep& step : Tokens(from)) steps.push_back({step.token, Concat(step.then, then)});
  };
  switch (node.kind) {
    case Kind::kToken:
      steps.push_back({static_cast<TokenId>(node.a), kEpsilon});
      break;
    case Kind::kConcat:
      add_all(node.a, node.b);
      if (nodes_[node.a].nullable) add_all(node.b, kEpsilon);
      break;
    case Kind::kAlt:
      for (uint32_t i = 0; i < node.b; ++i) add_all(children_[node.a + i], kEpsilon);
      break;
    case Kind::kRepeat:
      add_all(node.a, Repeat(node.a, node.b == 0 ? 0 : node.b - 1, node.c == kNoMax ? kNoMax : node.c - 1));
      break;
    default:
      break;
  }
  --depth_;
  return steps;
}

bool ExprSet::Alive(ExprId expr, const ByteClasses& classes) {
  if (expr == kEmpty) return false;
  const Node node = nodes_[expr];
  if (!node.has_bool || node.nullable) return true;
  if (const uint32_t found = alive_.Find(expr); found != NumberMap::kNone) return found != 0;
  if (depth_ > kMaxDeriveDepth) {
    failed_ = true;
    return false;
  }
  ++depth_;
  bool alive = false;
  switch (node.kind) {
    case Kind::kConcat:
      alive = AllOfConcat(expr, [&](ExprId part) { return Alive(part, classes); });
      break;
    case Kind::kAlt:
      for (uint32_t i = 0; i < node.b && !alive; ++i) alive = Alive(children_[node.a + i], classes);
      break;
    case Kind::kRepeat:
      alive = Alive(node.a, classes);
      break;
    default:
      alive = AliveBool(expr, classes);
      break;
  }
  --depth_;
  alive_.Set(expr, alive ? 1 : 0);
  return alive;
}

bool ExprSet::AliveBool(ExprId expr, const ByteClasses& classes) {
  const std::optional<bool> alive = TryAlive(expr, classes, kMaxAliveStates);
  if (!alive) failed_ = true;
  return alive.value_or(false);
}

std::optional<bool> ExprSet::TryAlive(ExprId expr, const ByteClasses& classes, size_t max_states) {
  if (expr == kEmpty) return false;
  if (nodes_[expr].nullable) return true;
  // Nearly always an end is found with plain ASCII, which leads to far fewer states than all of Unicode and its
  // escapes.
  std::vector<uint8_t> ascii;
  for (const uint8_t byte : classes.least) {
    if (byte >= 0x20 && byte < 0x7F && byte != '\\') ascii.push_back(byte);
  }
  if (SearchAlive(expr, ascii, kMaxAsciiStates, false) == true) return true;
  return SearchAlive(expr, classes.least, max_states, true);
}

// Breadth first to a state that may end. `all`: these are all bytes, so that finding none means there is none.
std::optional<bool> ExprSet::SearchAlive(ExprId expr, std::span<const uint8_t> bytes, size_t max_states, bool all) {
  std::vector<ExprId> states{expr};
  std::vector<uint32_t> from{0};
  NumberMap seen;
  seen.Set(expr, 1);
  for (size_t i = 0; i < states.size(); ++i) {
    const ByteSet first = First(states[i]);
    for (const uint8_t byte : bytes) {
      if (!first.Has(byte)) continue;
      const ExprId next = Derive(states[i], byte);
      if (next == kEmpty) continue;
      const uint32_t known = alive_.Find(next);
      if (known == 0) continue;
      if (nodes_[next].nullable || !nodes_[next].has_bool || known == 1) {
        for (size_t at = i;; at = from[at]) {  // the whole way here leads to an end
          alive_.Set(states[at], 1);
          if (at == 0) break;
        }
        return true;
      }
      if (seen.Find(next) == NumberMap::kNone) {
        seen.Set(next, 1);
        states.push_back(next);
        from.push_back(static_cast<uint32_t>(i));
      }
    }
    if (states.size() > max_states) return std::nullopt;
  }
  if (!all) return std::nullopt;
  for (const ExprId state : states) alive_.Set(state, 0);
  return false;
}

}  // namespace lem
