// The tokens of a vocabulary by their plain characters, and small copies of that for grammars that tell few of them
// apart.
//
// Most tokens are plain: printable characters without quote and backslash. Over all characters they make a trie of some
// hundred thousand nodes; where a state tells only "letter or digit", "@" and "other" apart, as patterns do, tokens of
// the same classes in the same order fare alike, and some thousand nodes are left. Characters beyond ASCII are one
// symbol, because grammars rarely tell them apart; who does walks those tokens byte by byte. So it is with what is not
// plain: each node has the places of the byte trie where a token goes on in another way (its exits).
//
// Immutable, but for the cache, which has a lock.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "grammar/byte_set.h"
#include "text/tokenizer.h"

namespace lem {

// UTF-8 of the characters beyond ASCII that count as plain, as a machine: from a state, the bytes of a range lead to
// another; 0 is between characters. White space and ends of lines beyond ASCII are not among them: patterns (\s, \S, .)
// tell those from the rest. States come before those that they lead to.
struct PlainUtf8 {
  struct Step {
    uint8_t from, low, high, to;
  };
  std::vector<Step> steps;
  uint8_t num_states = 1;
  static constexpr uint8_t kNoState = UINT8_MAX;

  static const PlainUtf8& Get();
  uint8_t Next(uint8_t state, uint8_t byte) const;
};

// The bytes 0x20 to 0x7F but for quote and backslash.
const ByteSet& PlainAscii();

// Which plain ASCII characters are one symbol. The symbol after the last one stands for all characters beyond ASCII.
struct PlainClasses {
  std::array<uint8_t, 128> class_of{};
  std::vector<uint8_t> least;  // a byte of each class

  // `sets` are what has to be told apart.
  static PlainClasses Of(std::span<const ByteSet> sets);
  uint8_t beyond_ascii() const { return static_cast<uint8_t>(least.size()); }
  // True if this tells apart at least what `other` does.
  bool Refines(const PlainClasses& other) const;
};

// Where a token goes on in a way that is not plain: node `at` of the byte trie, after the bytes of `lead`.
struct TrieExit {
  uint32_t at = 0;
  std::array<uint8_t, 3> lead{};
  uint8_t lead_size = 0;
};

class ClassTrie {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Node {
    uint32_t first_child = kNone, next_sibling = kNone;
    uint32_t bits = kNone;                     // of many tokens: a mask; few are in a list
    uint32_t tokens = 0, exits = 0, wide = 0;  // the first of each; those of the next node are where they end
    uint8_t symbol = 0;
  };

  const PlainClasses& classes() const { return classes_; }
  const Node& node(uint32_t id) const { return nodes_[id]; }  // 0 is the root
  std::span<const TokenId> TokensOf(uint32_t id) const { return Slice(tokens_, &Node::tokens, id); }
  std::span<const uint32_t> BitsOf(uint32_t id) const { return {bits_.data() + nodes_[id].bits, mask_words_}; }
  std::span<const TrieExit> ExitsOf(uint32_t id) const { return Slice(exits_, &Node::exits, id); }
  // Nodes of the byte trie where characters beyond ASCII begin: for who tells them apart.
  std::span<const uint32_t> WideOf(uint32_t id) const { return Slice(wide_, &Node::wide, id); }
  size_t MemoryBytes() const;

 private:
  friend class PlainTrie;
  template <typename T>
  std::span<const T> Slice(const std::vector<T>& all, uint32_t Node::* begin, uint32_t id) const {
    return {all.data() + nodes_[id].*begin, nodes_[id + 1].*begin - nodes_[id].*begin};
  }
  PlainClasses classes_;
  size_t mask_words_ = 0;
  std::vector<Node> nodes_;  // and one behind the last
  std::vector<TokenId> tokens_;
  std::vector<uint32_t> bits_, wide_;
  std::vector<TrieExit> exits_;
};

class PlainTrie {
 public:
  PlainTrie() : nodes_(1) {}

  // For building, parents first. Node 0 is the root.
  uint32_t AddNode(uint32_t parent, uint8_t symbol) {
    nodes_.push_back({parent, symbol});
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  void AddToken(uint32_t node, TokenId token) { tokens_.push_back({node, token}); }
  void AddExit(uint32_t node, const TrieExit& exit) { exits_.push_back({node, exit}); }
  void AddWide(uint32_t node, uint32_t at) { wide_.push_back({node, at}); }
  void Finish(size_t mask_words);

  // The symbol of characters beyond ASCII.
  static constexpr uint8_t kBeyondAscii = 0x80;

  // Tokens and exits, or the exits alone, which are few.
  enum class Contents : uint8_t { kAll, kExits };
  // A mask of all plain tokens, whole characters or not.
  std::span<const uint32_t> mask() const { return mask_; }
  // A copy that tells apart what `classes` does and hardly more, or the usual one, made by Finish(); nothing if there
  // is none yet.
  std::shared_ptr<const ClassTrie> Find(const PlainClasses& classes, Contents contents) const;
  // The same, made if need be, which takes some milliseconds for kAll. Nothing if it would be hardly smaller than all.
  std::shared_ptr<const ClassTrie> Make(const PlainClasses& classes, Contents contents) const;

 private:
  struct Node {
    uint32_t parent = 0;
    uint8_t symbol = 0;
  };
  template <typename T>
  struct At {
    uint32_t node;
    T value;
  };
  struct Made {
    PlainClasses classes;
    Contents contents;
    std::shared_ptr<const ClassTrie> trie;  // shared with the engines
  };
  std::shared_ptr<const ClassTrie> FindMade(const PlainClasses& classes, Contents contents) const;
  std::shared_ptr<const ClassTrie> Copy(const PlainClasses& classes, Contents contents) const;

  std::vector<Node> nodes_;
  std::vector<uint32_t> all_nodes_, exit_nodes_;  // in the order of nodes_, without the root; on the way to an exit
  std::vector<At<TokenId>> tokens_;
  std::vector<At<TrieExit>> exits_;
  std::vector<At<uint32_t>> wide_;
  std::vector<uint32_t> mask_;
  std::shared_ptr<const ClassTrie> usual_;  // shared with who walks it
  mutable std::mutex mutex_;
  mutable std::vector<Made> made_;  // the last used at the end
};

}  // namespace lem
