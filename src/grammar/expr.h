// Regular expressions over bytes, with calls of rules and single tokens as further symbols, and their derivatives.
//
// An expression is a number in an ExprSet, which holds each one once: equal numbers mean equal expressions. What is
// left of an expression after a byte (its derivative) is an expression again, so that expressions are the states of a
// machine which is built while it runs. A, B ::= empty | epsilon | bytes | A B | A|B | A{m,n} | call | token | A&B | !A
// | digits that are a multiple | digits that are at most or at least. & and ! hold no calls and no tokens.
//
// Not thread-safe. Over max_nodes every new expression is empty and failed() says so: whoever uses results asks it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/byte_set.h"
#include "grammar/number_map.h"
#include "text/tokenizer.h"

namespace lem {

using ExprId = uint32_t;
using RuleId = uint32_t;

inline constexpr ExprId kEmpty = 0;    // matches nothing
inline constexpr ExprId kEpsilon = 1;  // matches no bytes
inline constexpr ExprId kAll = 2;      // matches every string
inline constexpr uint32_t kNoMax = UINT32_MAX;

// The bytes of one class lead every expression of a set to the same derivative.
struct ByteClasses {
  uint8_t class_of[256] = {};
  std::vector<uint8_t> least;  // of each class

  // As few as tell every set from the others.
  static ByteClasses Of(std::span<const ByteSet> sets);
};

// A decimal magnitude: digits before and after the point, without zeros at the outer ends; "0" is {"0", ""}.
struct Decimal {
  std::string whole = "0", fraction;
  friend bool operator==(const Decimal&, const Decimal&) = default;
};

class ExprSet {
 public:
  enum class Kind : uint8_t {
    kEmpty,
    kEpsilon,
    kBytes,
    kConcat,
    kAlt,
    kRepeat,
    kCall,
    kToken,
    kAnd,
    kNot,
    kMultiple,
    kBound
  };
  enum class Comparison : uint8_t { kAtMost, kLess, kAtLeast, kGreater };
  struct Call {
    RuleId rule;
    ExprId then;
    friend bool operator==(const Call&, const Call&) = default;
  };
  struct TokenStep {
    TokenId token;
    ExprId then;
  };

  explicit ExprSet(size_t max_nodes = SIZE_MAX);

  ExprId Bytes(const ByteSet& set);
  ExprId Byte(uint8_t byte) { return Bytes(ByteSet::Of(byte)); }
  ExprId Literal(std::string_view text);
  // One of the texts; a tree, so that the state after a byte stays small.
  ExprId OneOf(std::vector<std::string> texts);
  ExprId Concat(ExprId first, ExprId second);
  ExprId Concat(std::initializer_list<ExprId> parts) { return ConcatAll({parts.begin(), parts.size()}); }
  ExprId ConcatAll(std::span<const ExprId> parts);
  ExprId Alt(ExprId a, ExprId b);
  ExprId Alt(std::vector<ExprId> options);
  ExprId Repeat(ExprId body, uint32_t min, uint32_t max);
  ExprId Optional(ExprId body) { return Repeat(body, 0, 1); }
  ExprId CallRule(RuleId rule);
  ExprId Token(TokenId token);
  ExprId And(ExprId a, ExprId b);
  ExprId And(std::vector<ExprId> parts);
  ExprId Not(ExprId body);
  // Decimal digits, with at most `fraction_digits` that count after a point, whose value times 10^fraction_digits is a
  // multiple of `multiple`. To be joined by And with the syntax of numbers. REQUIRES: multiple > 0.
  ExprId MultipleOf(uint32_t multiple, uint32_t fraction_digits);
  // Decimal digits whose value compares so with `bound`. Likewise.
  ExprId Compared(Comparison comparison, const Decimal& bound);

  // What may follow `byte`.
  ExprId Derive(ExprId expr, uint8_t byte);
  // `expr` with repeats that no `bytes` bytes can use up made endless, where that changes nothing about which texts of
  // up to so many bytes may come next: so that states with counters are the same state over long stretches. `any_char`
  // is any character of the strings that the grammar limits in length; always the same for an ExprSet, as is `bytes`.
  struct Horizon {
    uint32_t bytes;
    ExprId any_char;
  };
  ExprId Opened(ExprId expr, const Horizon& horizon);
  // True if it is easily seen that any number of `any_char` may come next, as where a pattern is searched for.
  bool KeepsAny(ExprId expr, ExprId any_char) const;
  // What may follow any plain character beyond ASCII (plain_trie.h), kEmpty if none of them may come. Nothing if that
  // depends on which character, or may do so.
  std::optional<ExprId> DeriveBeyondAscii(ExprId expr);
  bool Nullable(ExprId expr) const { return nodes_[expr].nullable; }
  bool HasCalls(ExprId expr) const { return nodes_[expr].has_calls; }
  bool HasTokens(ExprId expr) const { return nodes_[expr].has_tokens; }
  // A superset of the bytes that may come first.
  const ByteSet& First(ExprId expr);
  // The rules that may be called before any byte, one entry a rule; the tokens likewise.
  std::vector<Call> Calls(ExprId expr);
  std::vector<TokenStep> Tokens(ExprId expr);
  // False if nothing at all matches, all calls taken as matched. Without & and ! only kEmpty has that.
  bool Alive(ExprId expr, const ByteClasses& classes);
  // The same for one expression by itself.
  bool Alive(ExprId expr) { return expr != kEmpty && (!nodes_[expr].has_bool || Alive(expr, Classes({&expr, 1}))); }
  // True if `expr` is `body` repeated and then `end`: how often.
  std::optional<std::pair<uint32_t, uint32_t>> AsRepeat(ExprId expr, ExprId body, ExprId end) const;
  // True if `expr` is text of `body` but for finitely many, and then `end`: those.
  std::optional<ExprId> AsAllBut(ExprId expr, ExprId body, ExprId end) const;
  // Nothing is said after looking at `max_states` states.
  std::optional<bool> TryAlive(ExprId expr, const ByteClasses& classes, size_t max_states);
  bool Matches(ExprId expr, std::string_view text);

  ByteClasses Classes(std::span<const ExprId> exprs) const;
  // The sets of bytes that `expr`, or a rule that it calls, may ask about before a byte of `stops` has come.
  std::vector<ByteSet> SetsBefore(ExprId expr, const ByteSet& stops, std::span<const ExprId> rules) const;
  // `expr` with calls of rules for which dead[rule] is true replaced by nothing.
  ExprId WithoutRules(ExprId expr, const std::vector<bool>& dead, std::unordered_map<ExprId, ExprId>& memo);
  // Some match exists if calls of rules with alive[rule] == false have none.
  bool Productive(ExprId expr, const std::vector<bool>& alive, std::unordered_map<ExprId, bool>& memo) const;
  // Adds the rules that `expr` may call before any byte, given which rules may match nothing; `memo` ends repeats.
  void LeftRules(ExprId expr, const std::vector<bool>& nullable_rules, std::vector<RuleId>& out,
                 std::vector<bool>& memo) const;
  // No bytes are needed, if rules with nullable_rules[rule] need none.
  bool NullableWith(ExprId expr, const std::vector<bool>& nullable_rules, std::unordered_map<ExprId, bool>& memo) const;

  size_t size() const { return nodes_.size(); }
  size_t MemoryBytes() const;
  bool failed() const { return failed_; }
  void set_max_nodes(size_t max_nodes) { max_nodes_ = max_nodes; }

 private:
  // a, b, c, d by kind: bytes (set); concat (first, second); alt and and (offset in children_, count);
  // repeat (body, min, max); call (rule); token (id); not (body); multiple (multiple, fraction digits left, residue,
  // phase); bound (bound, digits seen, comparison, phase and order so far).
  struct Node {
    Kind kind = Kind::kEmpty;
    bool nullable = false, has_calls = false, has_bool = false, has_tokens = false;
    uint32_t a = 0, b = 0, c = 0, d = 0;
  };

  ExprId Intern(Node node, std::span<const ExprId> children = {});
  std::span<const ExprId> ChildrenOf(const Node& node) const { return {children_.data() + node.a, node.b}; }
  // True if it is of every part of a list, without recursing along it.
  template <typename Predicate>
  bool AllOfConcat(ExprId expr, const Predicate& predicate) const {
    for (; nodes_[expr].kind == Kind::kConcat; expr = nodes_[expr].b) {
      if (!predicate(nodes_[expr].a)) return false;
    }
    return predicate(expr);
  }
  // The sets of bytes that expressions ask about, and the rules that they call. With `before`, only those that may be
  // asked about until one of its bytes has come.
  std::vector<ByteSet> SetsIn(std::span<const ExprId> exprs, const ByteSet* before,
                              std::span<const ExprId> rules) const;
  uint32_t InternSet(const ByteSet& set);
  ExprId OneOfTree(std::span<const std::string> sorted, size_t depth);
  ExprId DeriveNode(ExprId expr, uint8_t byte);
  std::optional<ExprId> DeriveBeyondAsciiNode(ExprId expr);
  std::optional<ExprId> TryBeyondAscii(ExprId expr);
  ExprId OpenedNode(ExprId expr, const Horizon& horizon);
  ExprId OpenedAnd(ExprId expr, const Horizon& horizon);
  // Bounds on the bytes of a shortest match, and of a shortest end of any match that has begun.
  struct Shortest {
    uint64_t whole, rest;
  };
  std::optional<Shortest> ShortestOf(ExprId expr, int depth) const;
  ExprId DeriveMultiple(const Node& node, uint8_t byte);
  ExprId DeriveBound(const Node& node, uint8_t byte);
  ExprId MakeBound(uint32_t bound, uint32_t seen, uint32_t comparison, uint32_t order, uint32_t phase);
  std::optional<bool> SearchAlive(ExprId expr, std::span<const uint8_t> bytes, size_t max_states, bool all);
  bool AliveBool(ExprId expr, const ByteClasses& classes);
  ByteSet FirstOf(ExprId expr);
  bool IsFinite(ExprId expr, int depth) const;

  std::vector<Node> nodes_;
  std::vector<ExprId> children_;
  std::vector<ByteSet> sets_;
  std::vector<Decimal> bounds_;
  std::vector<ExprId> node_table_;  // open addressing; kNoMax: free
  std::unordered_map<uint64_t, std::vector<uint32_t>> set_ids_;
  NumberMap derivatives_;        // expr << 8 | byte
  NumberMap opened_;             // by expr
  NumberMap beyond_ascii_;       // by expr; kNoMax - 1: it depends
  std::vector<uint32_t> first_;  // by expr: set + 1, or 0
  NumberMap alive_;              // 0 or 1 by expr
  size_t max_nodes_;
  int depth_ = 0;
  bool failed_ = false;
};

}  // namespace lem
