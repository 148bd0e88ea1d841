// Masks: see the head of engine.h.
#include <algorithm>
#include <chrono>
#include <utility>

#include "grammar/engine.h"

namespace lem {
namespace {

using TrieNode = GrammarVocabulary::Rep::TrieNode;
constexpr uint32_t kMaxPlain = GrammarVocabulary::Rep::kMaxPlain;

// Nodes that a walk of the bytes may visit before classes of characters are tried: this is some tens of microseconds.
// Of a small vocabulary fewer.
constexpr size_t kMaxWalk = 1500;
// The same where the classes are not known yet: walking so many takes a tenth of the time of learning them.
constexpr size_t kMaxWalkBeforeMaking = 20'000;
// Configurations that plain characters may lead through before they count as too many.
constexpr size_t kMaxPlainStates = 48;
// The value for a configuration from which characters beyond ASCII lead to different ones.
constexpr uint32_t kDiffer = UINT32_MAX - 1;
// What may be made ahead of the first sequence: its time, states of one rule, and how many plain characters have to be
// able to come next for a state to be worth it.
constexpr std::chrono::milliseconds kMaxPrepareTime{8};
constexpr size_t kMaxPrepared = 12;
constexpr int kWideState = 10;
// Of kept masks; over it they are made anew.
constexpr size_t kMaxPartBytes = size_t{48} << 20;

void SetBit(std::span<uint32_t> bits, TokenId token) {
  bits[static_cast<size_t>(token) / 32] |= uint32_t{1} << (token % 32);
}

}  // namespace

// The configuration after any plain character beyond ASCII, kDead if not even the first byte of one may follow. Nothing
// if it depends on which.
std::optional<ConfigId> GrammarEngine::StepBeyondAscii(ConfigId from) {
  const auto known = [](ConfigId config) { return config == kDiffer ? std::nullopt : std::optional(config); };
  if (const uint32_t found = beyond_ascii_.Find(from); found != NumberMap::kNone) return known(found);
  const ConfigId config = [&]() -> ConfigId {
    if (!status_.ok()) return kDead;
    todo_.clear();
    const Config threads = configs_[from];
    bool may_begin = false;
    for (uint32_t i = 0; i < threads.num_threads; ++i) {
      const Thread thread = threads_[threads.first_thread + i];
      const std::optional<ExprId> next = exprs_.DeriveBeyondAscii(thread.state);
      if (!next) return kDiffer;
      if (*next != kEmpty && LiveState(*next)) todo_.push_back({*next, thread.node});
      may_begin |= !exprs_.First(thread.state).IsWithin(ByteSet::Range(0, 0x7F));
    }
    // A token that ends within a character may be the beginning of one that is not plain.
    return todo_.empty() && may_begin ? ConfigId{kDiffer} : CloseStep();
  }();
  beyond_ascii_.Set(from, config);
  return known(config);
}

// Adds what may follow from `from` in the sibling nodes [begin, end) of the trie and below them.
bool GrammarEngine::Walk(uint32_t begin, uint32_t end, ConfigId from, Part& part, size_t max_nodes) {
  levels_.assign(1, {end, from});
  uint32_t at = begin;
  for (size_t num_nodes = 0; at < end; ++num_nodes) {
    if (num_nodes == max_nodes) return false;
    while (levels_.back().end <= at) levels_.pop_back();
    const TrieNode& node = tokens_.nodes[at];
    const ConfigId config = StepByte(levels_.back().config, node.byte);
    if (config == kDead) {
      at = node.end;
      continue;
    }
    for (TokenId token = node.token; token != GrammarVocabulary::Rep::kNoToken;
         token = tokens_.next_same[static_cast<size_t>(token)]) {
      part.tokens.push_back(token);
    }
    if (node.end == at + 1) {
      at = node.end;
      continue;
    }
    if (configs_[config].ended) part.left_at.push_back(at);
    if (configs_[config].num_threads == 0) {
      at = node.end;
      continue;
    }
    levels_.push_back({node.end, config});
    ++at;
  }
  return true;
}

void GrammarEngine::WalkExits(const ClassTrie& trie, uint32_t node, ConfigId from, Part& part) {
  for (const TrieExit& exit : trie.ExitsOf(node)) {
    ConfigId config = from;
    for (uint8_t i = 0; i < exit.lead_size; ++i) config = StepByte(config, exit.lead[i]);
    if (config != kDead) Walk(exit.at, tokens_.nodes[exit.at].end, config, part);
  }
}

// True if any number of any plain characters may follow.
bool GrammarEngine::TakesAnyPlain(const PlainClasses& classes, ConfigId from) {
  if (const uint32_t found = takes_any_plain_.Find(from); found != NumberMap::kNone) return found != 0;
  std::vector<ConfigId> reached{from};
  const bool takes = [&] {
    for (size_t i = 0; i < reached.size(); ++i) {
      if (i > 0 && configs_[reached[i]].ended) return false;
      const auto reach = [&](ConfigId to) {
        if (to == kDead) return false;
        if (std::ranges::find(reached, to) == reached.end()) reached.push_back(to);
        return reached.size() <= kMaxPlainStates;
      };
      for (const uint8_t byte : classes.least) {
        if (!reach(StepByte(reached[i], byte))) return false;
      }
      const std::optional<ConfigId> beyond = StepBeyondAscii(reached[i]);
      if (!beyond || !reach(*beyond)) return false;
    }
    return true;
  }();
  if (!takes) reached.resize(1);
  for (const ConfigId config : reached) takes_any_plain_.Set(config, takes ? 1 : 0);
  return takes;
}

// As a walk of all bytes, in a trie whose classes of characters are those of the state. False if the rule may be left
// between plain characters: callers need the very nodes.
bool GrammarEngine::WalkClasses(const ClassTrie& trie, ConfigId from, PartId before, Part& part) {
  std::vector<std::pair<uint32_t, ConfigId>> todo{{0, from}};
  const uint8_t beyond_ascii = trie.classes().beyond_ascii();
  while (!todo.empty()) {
    const auto [id, config] = todo.back();
    todo.pop_back();
    const ClassTrie::Node& node = trie.node(id);
    if (before == kWhole && configs_[config].ended && id != 0) return false;
    if (node.bits != ClassTrie::kNone) {
      const std::span<const uint32_t> bits = trie.BitsOf(id);
      for (size_t i = 0; i < bits.size(); ++i) part.bits[i] |= bits[i];
    }
    for (const TokenId token : trie.TokensOf(id)) SetBit(part.bits, token);
    WalkExits(trie, id, config, part);
    for (uint32_t at = node.first_child; at != ClassTrie::kNone; at = trie.node(at).next_sibling) {
      const uint8_t symbol = trie.node(at).symbol;
      if (symbol != beyond_ascii) {
        const ConfigId to = StepByte(config, trie.classes().least[symbol]);
        if (to != kDead) todo.emplace_back(at, to);
      } else if (const std::optional<ConfigId> to = StepBeyondAscii(config); !to) {
        for (const uint32_t begin : trie.WideOf(id)) Walk(begin, tokens_.nodes[begin].end, config, part);
      } else if (*to != kDead) {
        todo.emplace_back(at, *to);
      }
    }
  }
  return true;
}

// The nodes of [begin, end) and below that close a string of `text`, which is finite.
void GrammarEngine::FindClosings(uint32_t begin, uint32_t end, ExprId text, std::vector<uint32_t>& nodes) {
  const ByteSet first = exprs_.First(text);
  for (uint32_t at = begin; at < end; at = tokens_.nodes[at].end) {
    const TrieNode& node = tokens_.nodes[at];
    if (node.byte == '"' && exprs_.Nullable(text)) nodes.push_back(at);
    if (!first.Has(node.byte)) continue;
    const ExprId rest = exprs_.Derive(text, node.byte);
    if (rest != kEmpty) FindClosings(at + 1, node.end, rest, nodes);
  }
}

// Inside a JSON string of `min` to `max` more characters of any kind, which ends its rule: no walk is needed.
GrammarEngine::Part GrammarEngine::MakeStringPart(uint32_t min, uint32_t max, ExprId but) {
  using InString = GrammarVocabulary::Rep::InString;
  Part part;
  std::vector<uint32_t> forbidden;
  if (but != kEmpty) FindClosings(tokens_.others.begin, tokens_.others.end, but, forbidden);
  if (min == 0 && max >= tokens_.most_chars) {
    part.bits = tokens_.string_mask;
    part.left_at = tokens_.string_left;
    for (const uint32_t node : forbidden) {
      for (TokenId token = tokens_.nodes[node].token; token != GrammarVocabulary::Rep::kNoToken;
           token = tokens_.next_same[static_cast<size_t>(token)]) {
        part.bits[static_cast<size_t>(token) / 32] &= ~(uint32_t{1} << (token % 32));
      }
    }
    std::erase_if(part.left_at, [&](uint32_t node) { return std::ranges::find(forbidden, node) != forbidden.end(); });
    return part;
  }
  part.plain = std::min(max, kMaxPlain);
  for (const auto& [chars, token] : tokens_.long_tokens) {
    if (chars > max) break;
    part.tokens.push_back(token);
  }
  const auto add_tokens = [&](const TrieNode& node) {
    for (TokenId token = node.token; token != GrammarVocabulary::Rep::kNoToken;
         token = tokens_.next_same[static_cast<size_t>(token)]) {
      part.tokens.push_back(token);
    }
  };
  for (const InString& entry : tokens_.staying) {
    if (entry.chars > max) break;
    add_tokens(tokens_.nodes[entry.node]);
  }
  const auto first = std::ranges::lower_bound(tokens_.closing, min, {}, &InString::chars);
  for (auto entry = first; entry != tokens_.closing.end() && entry->chars <= max; ++entry) {
    if (!forbidden.empty() && std::ranges::find(forbidden, entry->node) != forbidden.end()) continue;
    const TrieNode& node = tokens_.nodes[entry->node];
    add_tokens(node);
    if (node.end != entry->node + 1) part.left_at.push_back(entry->node);
  }
  return part;
}

// What may follow in the whole trie.
GrammarEngine::Part GrammarEngine::MakeWidePart(ConfigId from, ExprId state, PartId before) {
  const auto num_nodes = static_cast<uint32_t>(tokens_.nodes.size());
  Part part;
  if (Walk(0, num_nodes, from, part, std::min(kMaxWalk, tokens_.nodes.size() / 128))) return part;
  ByteSet stops = ByteSet::Range(0, 0x7F);
  for (size_t i = 0; i < stops.words.size(); ++i) stops.words[i] &= ~PlainAscii().words[i];
  const PlainClasses classes = PlainClasses::Of(exprs_.SetsBefore(state, stops, rules_));
  const PlainTrie& plain = tokens_.by_characters;
  const auto walk_classes = [&](const std::shared_ptr<const ClassTrie>& trie, std::span<const uint32_t> known) {
    part = {};
    part.bits.assign(known.begin(), known.end());
    part.bits.resize(tokens_.mask_words);
    return WalkClasses(*trie, from, before, part);
  };
  using Contents = PlainTrie::Contents;
  std::shared_ptr<const ClassTrie> trie = plain.Find(classes, Contents::kAll);
  // Where any character may follow, most tokens are taken at once, and the walk is for the others.
  if (exprs_.KeepsAny(state, json_char_) || (!trie && TakesAnyPlain(classes, from))) {
    if (walk_classes(plain.Make(classes, Contents::kExits), plain.mask())) return part;
  }
  if (!trie) {
    part = {};
    if (Walk(0, num_nodes, from, part, kMaxWalkBeforeMaking)) return part;
    trie = plain.Make(classes, Contents::kAll);
  }
  if (trie && walk_classes(trie, {})) return part;
  part = {};
  Walk(0, num_nodes, from, part);
  return part;
}

GrammarEngine::Part GrammarEngine::MakePart(PartId before, ExprId state) {
  Part part;
  const bool whole = before == kWhole || before == kWholeAtBottom;
  std::vector<Thread> threads{{state, 0}};
  const ConfigId from = InternConfig(threads, false);
  if (!whole) {
    const std::vector<uint32_t> nodes = parts_[before].left_at;
    for (const uint32_t node : nodes) Walk(node + 1, tokens_.nodes[node].end, from, part);
  } else if (const auto string = exprs_.AsRepeat(state, json_char_, quote_)) {
    part = MakeStringPart(string->first, string->second, kEmpty);
  } else if (const auto all_but = exprs_.AsAllBut(state, json_char_, quote_)) {
    part = MakeStringPart(0, kNoMax, *all_but);
  } else {
    part = MakeWidePart(from, state, before);
  }
  if (!part.bits.empty() || part.tokens.size() > tokens_.mask_words) {
    part.bits.resize(tokens_.mask_words);
    for (const TokenId token : part.tokens) SetBit(part.bits, token);
    part.tokens.clear();
  }
  part.tokens.shrink_to_fit();
  part.left_at.shrink_to_fit();
  return part;
}

GrammarEngine::PartId GrammarEngine::PartOf(PartId before, ExprId state) {
  const uint64_t key = uint64_t{before} << 32 | state;
  if (const PartId found = part_ids_.Find(key); found != NumberMap::kNone) return found;
  // Equal for all tokens: one part for both.
  if (const ExprId opened = exprs_.Opened(state, {tokens_.most_bytes, json_char_}); opened != state) {
    const PartId part = PartOf(before, opened);
    part_ids_.Set(key, part);
    return part;
  }
  Part part = MakePart(before, state);
  part_bytes_ += (part.tokens.size() + part.bits.size() + part.left_at.size()) * 4 + 160;
  const auto id = static_cast<PartId>(parts_.size());
  parts_.push_back(std::move(part));
  part_ids_.Set(key, id);
  return id;
}

void GrammarEngine::AddPart(PartId id, NodeId node, std::span<uint32_t> bits) {
  for (const auto& done : added_) {
    if (done.first == id && done.second == node) return;
  }
  added_.emplace_back(id, node);
  {
    const Part& part = parts_[id];
    if (part.plain > 0) {
      const uint32_t* const mask = tokens_.plain_masks.data() + part.plain * tokens_.mask_words;
      for (size_t i = 0; i < bits.size(); ++i) bits[i] |= mask[i];
    }
    if (!part.bits.empty()) {
      for (size_t i = 0; i < bits.size(); ++i) bits[i] |= part.bits[i];
    }
    for (const TokenId token : part.tokens) SetBit(bits, token);
    if (node == 0 || part.left_at.empty()) return;
  }
  const Config resumed = configs_[Resume(node)];
  for (uint32_t i = 0; i < resumed.num_threads; ++i) {
    const Thread thread = threads_[resumed.first_thread + i];
    AddPart(PartOf(id, thread.state), thread.node, bits);
  }
}

// Near the limit of the stack what may follow depends on how much of it is left: the trie is walked as it is.
void GrammarEngine::AddNearLimit(const Thread& thread, std::span<uint32_t> bits) {
  std::vector<Thread> threads{thread};
  const ConfigId from = InternConfig(threads, false);
  Part part;
  Walk(0, static_cast<uint32_t>(tokens_.nodes.size()), from, part);
  for (const TokenId token : part.tokens) SetBit(bits, token);
}

void GrammarEngine::Prepare() {
  const std::lock_guard lock(mutex_);
  const auto end = std::chrono::steady_clock::now() + kMaxPrepareTime;
  const ExprSet::Horizon horizon{tokens_.most_bytes, json_char_};
  for (const ExprId rule : rules_) {
    if (exprs_.HasCalls(rule) || exprs_.HasTokens(rule) || !exprs_.First(rule).Has('"')) continue;
    // The states that the string goes through, each found from the one before by one character of a class.
    std::vector<ExprId> states{exprs_.Opened(exprs_.Derive(rule, '"'), horizon)};
    for (size_t i = 0; i < states.size() && states.size() <= kMaxPrepared; ++i) {
      if (std::chrono::steady_clock::now() > end) return;
      const ByteSet first = exprs_.First(states[i]);
      if (first.CountIn(PlainAscii()) < kWideState || exprs_.AsRepeat(states[i], json_char_, quote_) ||
          !LiveState(states[i])) {
        continue;
      }
      PartOf(kWhole, states[i]);
      for (const uint8_t byte : classes_.least) {
        if (!first.Has(byte) || byte < 0x20 || byte >= 0x7F || byte == '\\') continue;
        const ExprId next = exprs_.Opened(exprs_.Derive(states[i], byte), horizon);
        if (next != kEmpty && std::ranges::find(states, next) == states.end()) states.push_back(next);
      }
    }
  }
}

bool GrammarEngine::FillMask(ConfigId config, std::span<uint32_t> bits) {
  const std::lock_guard lock(mutex_);
  std::ranges::fill(bits, 0);
  if (part_bytes_ > kMaxPartBytes) {
    parts_.resize(1);
    part_ids_.Clear();
    part_bytes_ = 0;
  }
  added_.clear();
  const Config from = configs_[config];
  for (uint32_t i = 0; i < from.num_threads; ++i) {
    const Thread thread = threads_[from.first_thread + i];
    if (nodes_[thread.node].depth + kMaxTokenDepth > kMaxStackDepth) {
      AddNearLimit(thread, bits);
    } else {
      AddPart(PartOf(thread.node == 0 ? kWholeAtBottom : kWhole, thread.state), thread.node, bits);
    }
    if (!exprs_.HasTokens(thread.state)) continue;
    for (const ExprSet::TokenStep& step : StatesOf(thread.state).tokens) {
      if (static_cast<size_t>(step.token) < tokens_.texts.size()) SetBit(bits, step.token);
    }
  }
  if (from.ended) {
    for (const TokenId token : tokens_.end_tokens) SetBit(bits, token);
  }
  if (!status_.ok()) {
    std::ranges::fill(bits, 0);
    return false;
  }
  return std::ranges::any_of(bits, [](uint32_t word) { return word != 0; });
}

}  // namespace lem
