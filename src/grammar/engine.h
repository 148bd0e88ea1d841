// A grammar at work on one vocabulary: its states, made while it runs, and the masks of them.
//
// A configuration is every way the grammar may stand after the bytes so far: a set of threads, each an expression that
// is left of a rule, on a stack of what is left of the callers. Configurations are numbers too, with a table of
// transitions each, so that walking the trie of the vocabulary is a walk of a finite machine.
//
// The mask of a thread has parts: the tokens that stay in its rule or in what it calls, which do not depend on the
// stack, and for those that leave it the nodes of the trie where they do; from these the part of the caller goes on.
// Parts are kept, and shared by all sequences.
//
// Shared by the matchers of a grammar; every public method takes the lock by itself.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/expr.h"
#include "grammar/grammar.h"
#include "grammar/vocabulary.h"

namespace lem {

using ConfigId = uint32_t;

class GrammarEngine {
 public:
  static constexpr ConfigId kDead = 0;

  // `json_char`: any character of a JSON string, so that strings can be told.
  GrammarEngine(const ExprSet& exprs, const std::vector<ExprId>& rules, ExprId start, ExprId json_char,
                const ByteClasses& classes, std::shared_ptr<const GrammarVocabulary> vocabulary);

  ConfigId start() const { return start_; }
  const GrammarVocabulary& vocabulary() const { return *vocabulary_; }
  // kDead where the grammar does not go on, and where a budget is used up: see status().
  ConfigId Step(ConfigId config, std::string_view bytes);
  ConfigId StepToken(ConfigId config, TokenId token);
  bool MayEnd(ConfigId config);
  bool MustEnd(ConfigId config);
  // Makes the parts that take longest before the first sequence begins: those of the patterns of strings. Within some
  // milliseconds; what is left is made when it is needed.
  void Prepare();
  // False if no token may follow.
  bool FillMask(ConfigId config, std::span<uint32_t> bits);
  std::string ForcedBytes(ConfigId config, size_t max_bytes);
  Status status();
  // No new matcher should begin on this one.
  bool Large();
  size_t MemoryBytes();

 private:
  // Nested rules of one derivation; a level of JSON takes one or two. No token nests deeper than kMaxTokenDepth.
  static constexpr uint32_t kMaxStackDepth = 500, kMaxTokenDepth = 250;
  static constexpr uint32_t kUnknown = UINT32_MAX;
  static constexpr uint32_t kNone = UINT32_MAX;
  using NodeId = uint32_t;  // of a stack; 0: its bottom
  using PartId = uint32_t;
  // In place of a part: the whole trie, for a state that returns to a caller, or at the bottom of the stack.
  static constexpr PartId kWhole = 0, kWholeAtBottom = UINT32_MAX;
  struct Thread {
    ExprId state;
    NodeId node;
    friend auto operator<=>(const Thread&, const Thread&) = default;
  };
  struct StackNode {
    ExprId then;  // what is left of the caller
    NodeId parent;
    uint32_t depth;
    ConfigId resumed;  // the configuration when it goes on, or kUnknown
  };
  struct Config {
    uint32_t first_thread, num_threads;
    uint32_t row;        // of transitions, or kUnknown
    ConfigId same_hash;  // another one, or kUnknown
    bool ended;          // a thread came to the end of the bottom
  };
  struct Part {
    uint32_t plain = 0;  // plain tokens of at most so many characters
    std::vector<TokenId> tokens;
    std::vector<uint32_t> bits;     // instead of `tokens` where these are many, and beside `plain`
    std::vector<uint32_t> left_at;  // nodes of the trie with children
  };
  struct RuleStates {
    std::vector<ExprSet::Call> calls;
    std::vector<ExprSet::TokenStep> tokens;
  };

  ConfigId StepByte(ConfigId config, uint8_t byte);
  ConfigId MakeStep(ConfigId config, uint8_t byte);
  // Close() if no budget is used up and there are threads at all.
  ConfigId CloseStep();
  // The threads of todo_ and all they call or return to, as one configuration.
  ConfigId Close();
  ConfigId InternConfig(std::vector<Thread>& threads, bool ended);
  NodeId Push(ExprId then, NodeId parent);
  ConfigId Resume(NodeId node);
  const RuleStates& StatesOf(ExprId expr);
  std::span<const Thread> ThreadsOf(ConfigId config) const;
  bool LiveState(ExprId state) { return exprs_.Alive(state, classes_); }

  // `before`: the part whose tokens go on here, or where in the trie they begin.
  PartId PartOf(PartId before, ExprId state);
  Part MakePart(PartId before, ExprId state);
  Part MakeWidePart(ConfigId from, ExprId state, PartId before);
  // `but`: texts that must not stand before the closing quote.
  Part MakeStringPart(uint32_t min, uint32_t max, ExprId but);
  void FindClosings(uint32_t begin, uint32_t end, ExprId text, std::vector<uint32_t>& nodes);
  // False, in the middle of it, after `max_nodes`.
  bool Walk(uint32_t begin, uint32_t end, ConfigId from, Part& part, size_t max_nodes = SIZE_MAX);
  bool TakesAnyPlain(const PlainClasses& classes, ConfigId from);
  bool WalkClasses(const ClassTrie& trie, ConfigId from, PartId before, Part& part);
  void WalkExits(const ClassTrie& trie, uint32_t node, ConfigId from, Part& part);
  std::optional<ConfigId> StepBeyondAscii(ConfigId from);
  void AddPart(PartId part, NodeId node, std::span<uint32_t> bits);
  void AddNearLimit(const Thread& thread, std::span<uint32_t> bits);
  void Fail(const char* what);
  size_t OwnBytes() const;

  std::mutex mutex_;
  const std::shared_ptr<const GrammarVocabulary> vocabulary_;  // shared by all grammars of a model
  const GrammarVocabulary::Rep& tokens_;
  ExprSet exprs_;
  const std::vector<ExprId> rules_;
  const ByteClasses classes_;
  const ExprId json_char_, quote_;
  ConfigId start_ = kDead;
  Status status_;

  std::vector<StackNode> nodes_;
  NumberMap node_ids_;  // then << 32 | parent
  std::vector<Config> configs_;
  std::vector<Thread> threads_;
  NumberMap config_ids_;  // the last of a hash; the others are in a list

  std::vector<ConfigId> rows_;
  std::unordered_map<ExprId, RuleStates> rule_states_;
  NumberMap part_ids_;       // part before << 32 | state
  std::vector<Part> parts_;  // kWhole: none
  size_t part_bytes_ = 0;
  NumberMap takes_any_plain_;  // by configuration
  NumberMap beyond_ascii_;     // by configuration: that after any plain character beyond ASCII, or kDiffer
  struct TrieLevel {
    uint32_t end;
    ConfigId config;
  };
  std::vector<TrieLevel> levels_;
  std::vector<Thread> todo_, closed_;
  std::vector<std::pair<PartId, NodeId>> added_;
};

}  // namespace lem
