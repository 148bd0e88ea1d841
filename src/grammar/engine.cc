#include "grammar/engine.h"

#include <algorithm>

#include "text/flat_index.h"

namespace lem {
namespace {

// Threads of one configuration; more means a grammar of a high ambiguity.
constexpr size_t kMaxThreads = 4096;
// Of one engine: expressions, and bytes of all its tables. A matcher fails over them; new ones begin on a fresh engine
// long before.
constexpr size_t kMaxExprs = 3'000'000;
constexpr size_t kMaxBytes = size_t{256} << 20, kLargeBytes = size_t{64} << 20;
}  // namespace

GrammarEngine::GrammarEngine(const ExprSet& exprs, const std::vector<ExprId>& rules, ExprId start, ExprId json_char,
                             const ByteClasses& classes, std::shared_ptr<const GrammarVocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)),
      tokens_(vocabulary_->rep()),
      exprs_(exprs),
      rules_(rules),
      classes_(classes),
      json_char_(json_char),
      quote_(exprs_.Byte('"')) {
  exprs_.set_max_nodes(kMaxExprs);
  nodes_.push_back({kEpsilon, 0, 0, kUnknown});
  configs_.push_back({0, 0, kUnknown, kUnknown, false});
  parts_.emplace_back();
  todo_.push_back({start, 0});
  start_ = Close();
}

void GrammarEngine::Fail(const char* what) {
  if (status_.ok()) status_ = ResourceExhausted("the grammar needs more than {}; use a simpler one", what);
}

Status GrammarEngine::status() {
  const std::lock_guard lock(mutex_);
  return status_;
}

size_t GrammarEngine::OwnBytes() const {
  return exprs_.MemoryBytes() + nodes_.size() * 60 + configs_.size() * 70 + threads_.size() * sizeof(Thread) +
         rows_.size() * sizeof(ConfigId) + rule_states_.size() * 100 + part_bytes_ + part_ids_.MemoryBytes() +
         takes_any_plain_.MemoryBytes() + beyond_ascii_.MemoryBytes();
}

size_t GrammarEngine::MemoryBytes() {
  const std::lock_guard lock(mutex_);
  return OwnBytes();
}

bool GrammarEngine::Large() {
  const std::lock_guard lock(mutex_);
  return OwnBytes() > kLargeBytes || !status_.ok();
}

std::span<const GrammarEngine::Thread> GrammarEngine::ThreadsOf(ConfigId config) const {
  return {threads_.data() + configs_[config].first_thread, configs_[config].num_threads};
}

GrammarEngine::NodeId GrammarEngine::Push(ExprId then, NodeId parent) {
  if (then == kEpsilon) return parent;  // nothing is left of the caller: the callee returns to its caller
  const uint64_t key = uint64_t{then} << 32 | parent;
  NodeId node = node_ids_.Find(key);
  if (node == NumberMap::kNone) {
    node = static_cast<NodeId>(nodes_.size());
    nodes_.push_back({then, parent, nodes_[parent].depth + 1, kUnknown});
    node_ids_.Set(key, node);
  }
  return node;
}

const GrammarEngine::RuleStates& GrammarEngine::StatesOf(ExprId expr) {
  const auto [at, added] = rule_states_.try_emplace(expr);
  if (added) at->second = {exprs_.Calls(expr), exprs_.Tokens(expr)};
  return at->second;
}

ConfigId GrammarEngine::Close() {
  closed_.clear();
  bool ended = false;
  // Few threads as a rule, so that looking through them is the fastest; a set where there are many.
  const auto visit = [&](Thread thread) {
    if (std::ranges::find(closed_, thread) == closed_.end()) closed_.push_back(thread);
  };
  for (const Thread& thread : todo_) visit(thread);
  todo_.clear();
  for (size_t i = 0; i < closed_.size(); ++i) {
    const Thread thread = closed_[i];
    if (closed_.size() > kMaxThreads) {
      Fail("4096 ways to read one text");
      return kDead;
    }
    if (exprs_.HasCalls(thread.state)) {
      for (const ExprSet::Call& call : StatesOf(thread.state).calls) {
        if (nodes_[thread.node].depth >= kMaxStackDepth) continue;  // deeper is not allowed, so not in the mask
        visit({rules_[call.rule], Push(call.then, thread.node)});
      }
    }
    if (exprs_.Nullable(thread.state)) {
      if (thread.node == 0) {
        ended = true;
      } else {
        visit({nodes_[thread.node].then, nodes_[thread.node].parent});
      }
    }
  }
  // Threads that only called or returned are spent.
  std::erase_if(closed_, [&](const Thread& thread) {
    return exprs_.First(thread.state).Empty() &&
           (!exprs_.HasTokens(thread.state) || StatesOf(thread.state).tokens.empty());
  });
  std::ranges::sort(closed_);
  return InternConfig(closed_, ended);
}

ConfigId GrammarEngine::InternConfig(std::vector<Thread>& threads, bool ended) {
  if (threads.empty() && !ended) return kDead;
  uint64_t hash = ended ? 1 : 2;
  for (const Thread& thread : threads) {
    hash = MixBits(hash ^ (uint64_t{thread.state} << 32 | thread.node), 0x9E3779B97F4A7C15) + thread.state;
  }
  const ConfigId first = config_ids_.Find(hash);
  for (ConfigId at = first; at != kUnknown; at = configs_[at].same_hash) {
    if (configs_[at].ended == ended && std::ranges::equal(ThreadsOf(at), threads)) return at;
  }
  const auto id = static_cast<ConfigId>(configs_.size());
  configs_.push_back(
      {static_cast<uint32_t>(threads_.size()), static_cast<uint32_t>(threads.size()), kUnknown, first, ended});
  threads_.insert(threads_.end(), threads.begin(), threads.end());
  config_ids_.Set(hash, id);
  return id;
}

ConfigId GrammarEngine::Resume(NodeId node) {
  if (nodes_[node].resumed == kUnknown) {
    todo_.push_back({nodes_[node].then, nodes_[node].parent});
    const ConfigId config = Close();
    nodes_[node].resumed = config;
  }
  return nodes_[node].resumed;
}

ConfigId GrammarEngine::StepByte(ConfigId config, uint8_t byte) {
  if (config == kDead) return kDead;
  uint32_t row = configs_[config].row;
  if (row == kUnknown) {
    row = static_cast<uint32_t>(rows_.size());
    configs_[config].row = row;
    rows_.resize(rows_.size() + classes_.least.size(), kUnknown);
  }
  const size_t at = row + classes_.class_of[byte];
  if (rows_[at] == kUnknown) {
    const ConfigId next = MakeStep(config, classes_.least[classes_.class_of[byte]]);
    rows_[at] = next;
  }
  return rows_[at];
}

ConfigId GrammarEngine::MakeStep(ConfigId config, uint8_t byte) {
  if (!status_.ok()) return kDead;
  todo_.clear();
  const Config from = configs_[config];
  for (uint32_t i = 0; i < from.num_threads; ++i) {
    const Thread thread = threads_[from.first_thread + i];
    if (!exprs_.First(thread.state).Has(byte)) continue;
    const ExprId next = exprs_.Derive(thread.state, byte);
    if (next != kEmpty && LiveState(next)) todo_.push_back({next, thread.node});
  }
  return CloseStep();
}

ConfigId GrammarEngine::CloseStep() {
  if (exprs_.failed()) {
    Fail("3,000,000 states, or a list of more than 1,000 alternatives");
    return kDead;
  }
  if (OwnBytes() > kMaxBytes) {
    Fail("256 MiB of states");
    return kDead;
  }
  return todo_.empty() ? kDead : Close();
}

ConfigId GrammarEngine::Step(ConfigId config, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  for (const char byte : bytes) config = StepByte(config, static_cast<uint8_t>(byte));
  return config;
}

ConfigId GrammarEngine::StepToken(ConfigId config, TokenId token) {
  const std::lock_guard lock(mutex_);
  todo_.clear();
  const Config from = configs_[config];
  for (uint32_t i = 0; i < from.num_threads; ++i) {
    const Thread thread = threads_[from.first_thread + i];
    if (!exprs_.HasTokens(thread.state)) continue;
    for (const ExprSet::TokenStep& step : StatesOf(thread.state).tokens) {
      if (step.token == token) todo_.push_back({step.then, thread.node});
    }
  }
  return todo_.empty() ? kDead : Close();
}

bool GrammarEngine::MayEnd(ConfigId config) {
  const std::lock_guard lock(mutex_);
  return configs_[config].ended;
}

bool GrammarEngine::MustEnd(ConfigId config) {
  const std::lock_guard lock(mutex_);
  return configs_[config].ended && configs_[config].num_threads == 0;
}

std::string GrammarEngine::ForcedBytes(ConfigId config, size_t max_bytes) {
  const std::lock_guard lock(mutex_);
  std::string forced;
  while (forced.size() < max_bytes && config != kDead && !configs_[config].ended) {
    ByteSet first;
    bool tokens = false;
    for (const Thread& thread : ThreadsOf(config)) {
      first |= exprs_.First(thread.state);
      tokens |= exprs_.HasTokens(thread.state) && !StatesOf(thread.state).tokens.empty();
    }
    if (tokens) break;
    // First() holds more bytes than may come where intersections are involved; each is tried then.
    ConfigId next = kDead;
    int count = 0;
    uint8_t forced_byte = 0;
    for (unsigned byte = 0; byte < 256 && count < 2; ++byte) {
      if (!first.Has(static_cast<uint8_t>(byte))) continue;
      const ConfigId to = StepByte(config, static_cast<uint8_t>(byte));
      if (to == kDead) continue;
      ++count;
      next = to;
      forced_byte = static_cast<uint8_t>(byte);
    }
    if (count != 1) break;
    forced.push_back(static_cast<char>(forced_byte));
    config = next;
  }
  return forced;
}

}  // namespace lem
