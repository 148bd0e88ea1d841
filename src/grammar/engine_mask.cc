// Masks: see the head of engine.h.
#include <algorithm>
#include <array>

#include "grammar/engine.h"

namespace lem {
namespace {

using TrieNode = GrammarVocabulary::Rep::TrieNode;
constexpr uint32_t kMaxPlain = GrammarVocabulary::Rep::kMaxPlain;

// Configurations that may stand side by side after the same number of plain characters before this gives up.
constexpr size_t kMaxPlainStates = 48;
// Of kept masks; over it they are made anew.
constexpr size_t kMaxPartBytes = size_t{48} << 20;

// UTF-8 as a machine: from a state, the bytes of a range lead to another; 0 is between characters.
struct Utf8Step {
  uint8_t from, low, high, to;
};
constexpr Utf8Step kPlainSteps[] = {
    {0, 0x20, 0x21, 0}, {0, 0x23, 0x5B, 0}, {0, 0x5D, 0x7F, 0},                      // no quote, no backslash
    {0, 0xC2, 0xDF, 1}, {0, 0xE0, 0xE0, 4}, {0, 0xE1, 0xEC, 2}, {0, 0xED, 0xED, 5},  //
    {0, 0xEE, 0xEF, 2}, {0, 0xF0, 0xF0, 6}, {0, 0xF1, 0xF3, 3}, {0, 0xF4, 0xF4, 7},  //
    {1, 0x80, 0xBF, 0}, {2, 0x80, 0xBF, 1}, {3, 0x80, 0xBF, 2}, {4, 0xA0, 0xBF, 1},  //
    {5, 0x80, 0x9F, 1}, {6, 0x90, 0xBF, 2}, {7, 0x80, 0x8F, 2},
};

void SetBit(std::span<uint32_t> bits, TokenId token) {
  bits[static_cast<size_t>(token) / 32] |= uint32_t{1} << (token % 32);
}

}  // namespace

// How many plain characters of any kind may follow: at most kMaxPlain of them. Nothing if some may and some may not, or
// the rule is left in between.
std::optional<uint32_t> GrammarEngine::PlainReach(ConfigId from) {
  std::vector<ConfigId> level{from};
  for (uint32_t reached = 0; reached < kMaxPlain; ++reached) {
    std::array<std::vector<ConfigId>, 8> at;
    at[0] = std::move(level);
    std::vector<ConfigId> next;
    bool some = false, none = false;
    // The states in an order in which every one comes before those it leads to.
    for (const size_t state : {0, 3, 6, 7, 2, 4, 5, 1}) {
      for (const ConfigId config : at[state]) {
        for (const Utf8Step& step : kPlainSteps) {
          if (step.from != state) continue;
          std::array<bool, 256> done{};
          for (unsigned byte = step.low; byte <= step.high; ++byte) {
            const uint8_t byte_class = classes_.class_of[byte];
            if (done[byte_class]) continue;
            done[byte_class] = true;
            const ConfigId to = StepByte(config, static_cast<uint8_t>(byte));
            (to == kDead ? none : some) = true;
            if (some && none) return std::nullopt;
            if (to == kDead) continue;
            if (configs_[to].ended) return std::nullopt;
            std::vector<ConfigId>& list = step.to == 0 ? next : at[step.to];
            if (std::ranges::find(list, to) == list.end()) list.push_back(to);
            if (list.size() > kMaxPlainStates) return std::nullopt;
          }
        }
      }
    }
    if (none) return reached;
    std::ranges::sort(next);
    if (next == at[0]) return kMaxPlain;
    level = std::move(next);
  }
  return kMaxPlain;
}

// Adds what may follow from `from` in the sibling nodes [begin, end) of the trie and below them.
void GrammarEngine::Walk(uint32_t begin, uint32_t end, ConfigId from, Part& part) {
  struct Level {
    uint32_t end;
    ConfigId config;
  };
  std::vector<Level> levels{{end, from}};
  uint32_t at = begin;
  while (at < end) {
    while (levels.back().end <= at) levels.pop_back();
    const TrieNode& node = tokens_.nodes[at];
    const ConfigId config = StepByte(levels.back().config, node.byte);
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
    levels.push_back({node.end, config});
    ++at;
  }
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

GrammarEngine::Part GrammarEngine::MakePart(PartId before, ExprId state) {
  Part part;
  const auto string = before == 0 ? exprs_.AsRepeat(state, json_char_, quote_) : std::nullopt;
  const auto all_but = before == 0 ? exprs_.AsAllBut(state, json_char_, quote_) : std::nullopt;
  std::vector<Thread> threads{{state, 0}};
  const ConfigId from = InternConfig(threads, false);
  if (before != 0) {
    const std::vector<uint32_t> nodes = parts_[before].left_at;
    for (const uint32_t node : nodes) Walk(node + 1, tokens_.nodes[node].end, from, part);
  } else if (string) {
    part = MakeStringPart(string->first, string->second, kEmpty);
  } else if (all_but) {
    part = MakeStringPart(0, kNoMax, *all_but);
  } else {
    const std::optional<uint32_t> reach = PlainReach(from);
    part.plain = reach.value_or(0);
    if (!reach) Walk(tokens_.plain.begin, tokens_.plain.end, from, part);
    if (!reach || *reach == kMaxPlain) Walk(tokens_.long_plain.begin, tokens_.long_plain.end, from, part);
    Walk(tokens_.others.begin, tokens_.others.end, from, part);
  }
  if (part.tokens.size() > tokens_.mask_words) {
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
      AddPart(PartOf(0, thread.state), thread.node, bits);
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
