#include "grammar/plain_trie.h"

#include <algorithm>
#include <map>

#include "grammar/code_points.h"

namespace lem {
namespace {

// With more classes the copy is hardly smaller than the whole; a copy that is a little finer than needed does as well.
constexpr size_t kMaxClasses = 12, kSpareClasses = 4;
// Tokens of a node from which on a mask is added faster than a list.
constexpr size_t kManyTokens = 512;
// Of all copies of a vocabulary, about 1.5 MB each with 150,000 tokens.
constexpr size_t kMaxBytes = size_t{32} << 20;

// Code points beyond ASCII that patterns name: white space and ends of lines of ECMAScript.
const CodePointSet& NamedBeyondAscii() {
  static const CodePointSet set{{0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return set;
}

// What most patterns tell apart; some thousand nodes are left of a vocabulary of 150,000 tokens.
PlainClasses UsualClasses() {
  std::vector<ByteSet> sets{ByteSet::Range('a', 'z'), ByteSet::Range('A', 'Z'), ByteSet::Range('0', '9')};
  for (const char byte : std::string_view(" _-./:@")) sets.push_back(ByteSet::Of(static_cast<uint8_t>(byte)));
  return PlainClasses::Of(sets);
}

PlainUtf8 MakePlainUtf8() {
  ExprSet exprs;
  CodePointCoder coder(exprs, TextForm::kUtf8);
  CodePointSet named = NamedBeyondAscii();
  named.Add(0, 0x7F);
  const ExprId start = coder.Encode(named.Complement());
  // All that is left after a byte is of one length, the longest first: so states come before those they lead to.
  std::vector<ExprId> states{start};
  for (const size_t left : {3, 2, 1}) {
    const size_t known = states.size();
    for (size_t i = 0; i < known; ++i) {
      for (unsigned byte = 0x80; byte < 0x100; ++byte) {
        const ExprId next = exprs.Derive(states[i], static_cast<uint8_t>(byte));
        if (next == kEmpty || next == kEpsilon || std::ranges::find(states, next) != states.end()) continue;
        ExprId end = next;
        size_t length = 0;
        for (; end != kEpsilon; ++length) end = exprs.Derive(end, exprs.First(end).Least());
        if (length == left) states.push_back(next);
      }
    }
  }
  PlainUtf8 machine;
  machine.num_states = static_cast<uint8_t>(states.size());
  for (uint8_t from = 0; from < machine.num_states; ++from) {
    for (unsigned byte = 0x80; byte < 0x100; ++byte) {
      const ExprId next = exprs.Derive(states[from], static_cast<uint8_t>(byte));
      if (next == kEmpty) continue;
      const auto to =
          next == kEpsilon ? uint8_t{0} : static_cast<uint8_t>(std::ranges::find(states, next) - states.begin());
      const auto last = machine.steps.empty() ? PlainUtf8::Step{} : machine.steps.back();
      if (last.from == from && last.to == to && last.high + 1U == byte) {
        machine.steps.back().high = static_cast<uint8_t>(byte);
      } else {
        machine.steps.push_back({from, static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), to});
      }
    }
  }
  return machine;
}

}  // namespace

const PlainUtf8& PlainUtf8::Get() {
  static const PlainUtf8 machine = MakePlainUtf8();
  return machine;
}

uint8_t PlainUtf8::Next(uint8_t state, uint8_t byte) const {
  for (const Step& step : steps) {
    if (step.from == state && byte >= step.low && byte <= step.high) return step.to;
  }
  return kNoState;
}

const ByteSet& PlainAscii() {
  static const ByteSet set = [] {
    ByteSet plain = ByteSet::Range(0x20, 0x7F);
    for (const uint8_t byte : {'"', '\\'}) plain.words[byte >> 6] &= ~(uint64_t{1} << (byte & 63));
    return plain;
  }();
  return set;
}

PlainClasses PlainClasses::Of(std::span<const ByteSet> sets) {
  const ByteClasses all = ByteClasses::Of(sets);
  PlainClasses classes;
  std::vector<int> renamed(all.least.size(), -1);
  for (uint8_t byte = 0x20; byte < 0x80; ++byte) {
    if (!PlainAscii().Has(byte)) continue;
    int& name = renamed[all.class_of[byte]];
    if (name < 0) {
      name = static_cast<int>(classes.least.size());
      classes.least.push_back(byte);
    }
    classes.class_of[byte] = static_cast<uint8_t>(name);
  }
  return classes;
}

bool PlainClasses::Refines(const PlainClasses& other) const {
  for (unsigned byte = 0x20; byte < 0x80; ++byte) {
    if (!PlainAscii().Has(static_cast<uint8_t>(byte))) continue;
    if (other.class_of[byte] != other.class_of[least[class_of[byte]]]) return false;
  }
  return true;
}

size_t ClassTrie::MemoryBytes() const {
  return nodes_.size() * sizeof(Node) + (tokens_.size() + bits_.size() + wide_.size()) * 4 +
         exits_.size() * sizeof(TrieExit);
}

void PlainTrie::Finish(size_t mask_words) {
  mask_.resize(mask_words);
  for (const auto& [node, token] : tokens_) mask_[static_cast<size_t>(token) / 32] |= uint32_t{1} << (token % 32);
  std::vector<bool> leads_to_exit(nodes_.size());
  for (const auto& entry : exits_) {
    for (uint32_t at = entry.node; at != 0 && !leads_to_exit[at]; at = nodes_[at].parent) leads_to_exit[at] = true;
  }
  for (uint32_t i = 1; i < nodes_.size(); ++i) {
    all_nodes_.push_back(i);
    if (leads_to_exit[i]) exit_nodes_.push_back(i);
  }
  usual_ = Copy(UsualClasses(), Contents::kAll);
}

std::shared_ptr<const ClassTrie> PlainTrie::Find(const PlainClasses& classes, Contents contents) const {
  if (contents == Contents::kAll && usual_->classes().Refines(classes)) return usual_;
  const std::lock_guard lock(mutex_);
  return FindMade(classes, contents);
}

// REQUIRES: mutex_ is held.
std::shared_ptr<const ClassTrie> PlainTrie::FindMade(const PlainClasses& classes, Contents contents) const {
  const auto fits = [&](const Made& made) {
    return made.contents == contents && made.classes.least.size() <= classes.least.size() + kSpareClasses &&
           made.classes.Refines(classes);
  };
  const auto at = std::ranges::find_if(made_, fits);
  if (at == made_.end()) return nullptr;
  std::rotate(at, at + 1, made_.end());
  return made_.back().trie;
}

std::shared_ptr<const ClassTrie> PlainTrie::Make(const PlainClasses& classes, Contents contents) const {
  if (auto trie = Find(classes, contents)) return trie;
  if (contents == Contents::kAll && classes.least.size() > kMaxClasses) return nullptr;
  // Others find theirs meanwhile; two that want the same at once may both make it.
  auto made = Copy(classes, contents);
  const std::lock_guard lock(mutex_);
  made_.push_back({classes, contents, made});
  size_t bytes = 0;
  size_t keep = made_.size();
  while (keep > 0 && (bytes += made_[keep - 1].trie->MemoryBytes()) <= kMaxBytes) --keep;
  made_.erase(made_.begin(), made_.begin() + static_cast<std::ptrdiff_t>(std::min(keep, made_.size() - 1)));
  return made;
}

std::shared_ptr<const ClassTrie> PlainTrie::Copy(const PlainClasses& classes, Contents contents) const {
  auto trie = std::make_shared<ClassTrie>();
  trie->classes_ = classes;
  trie->mask_words_ = mask_.size();
  const size_t num_symbols = classes.least.size() + 1;
  std::vector<ClassTrie::Node>& nodes = trie->nodes_;
  nodes.emplace_back();
  std::vector<uint32_t> children(num_symbols, ClassTrie::kNone);
  constexpr uint32_t kLeftOut = UINT32_MAX;
  std::vector<uint32_t> merged(nodes_.size(), kLeftOut);  // the new node of each of ours
  merged[0] = 0;
  for (const uint32_t id : contents == Contents::kAll ? all_nodes_ : exit_nodes_) {
    const Node& own = nodes_[id];
    const uint32_t parent = merged[own.parent];
    const uint8_t symbol = own.symbol == kBeyondAscii ? classes.beyond_ascii() : classes.class_of[own.symbol];
    uint32_t child = children[parent * num_symbols + symbol];
    if (child == ClassTrie::kNone) {
      child = static_cast<uint32_t>(nodes.size());
      children[parent * num_symbols + symbol] = child;
      nodes.push_back({.next_sibling = nodes[parent].first_child, .symbol = symbol});
      nodes[parent].first_child = child;
      children.resize(children.size() + num_symbols, ClassTrie::kNone);
    }
    merged[id] = child;
  }
  nodes.emplace_back();  // where the last one's lists end
  // Lists by node: counted, summed up, laid out.
  const auto lay_out = [&](const auto& from, auto& to, uint32_t ClassTrie::Node::* begin) {
    std::vector<uint32_t> counts(nodes.size());
    for (const auto& entry : from) {
      if (merged[entry.node] != kLeftOut) ++counts[merged[entry.node]];
    }
    uint32_t sum = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
      nodes[i].*begin = sum;
      sum += counts[i];
      counts[i] = nodes[i].*begin;
    }
    to.resize(sum);
    for (const auto& entry : from) {
      if (merged[entry.node] != kLeftOut) to[counts[merged[entry.node]]++] = entry.value;
    }
  };
  std::vector<TokenId> tokens;
  lay_out(contents == Contents::kAll ? tokens_ : std::vector<At<TokenId>>(), tokens, &ClassTrie::Node::tokens);
  lay_out(exits_, trie->exits_, &ClassTrie::Node::exits);
  lay_out(wide_, trie->wide_, &ClassTrie::Node::wide);
  // Many tokens of a node become a mask.
  for (size_t i = 0; i + 1 < nodes.size(); ++i) {
    const size_t begin = nodes[i].tokens, end = nodes[i + 1].tokens;
    nodes[i].tokens = static_cast<uint32_t>(trie->tokens_.size());
    if (end - begin < kManyTokens) {
      trie->tokens_.insert(trie->tokens_.end(), tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                           tokens.begin() + static_cast<std::ptrdiff_t>(end));
      continue;
    }
    nodes[i].bits = static_cast<uint32_t>(trie->bits_.size());
    trie->bits_.resize(trie->bits_.size() + mask_.size());
    for (size_t t = begin; t < end; ++t) {
      trie->bits_[nodes[i].bits + static_cast<size_t>(tokens[t]) / 32] |= uint32_t{1} << (tokens[t] % 32);
    }
  }
  nodes.back().tokens = static_cast<uint32_t>(trie->tokens_.size());
  return trie;
}

}  // namespace lem
