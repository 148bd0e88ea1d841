// Joining neighbouring symbols of a piece until none can be joined, the best pair first: what BPE and SentencePiece BPE
// have in common.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <queue>
#include <string_view>
#include <vector>

#include "text/flat_index.h"

namespace lem {

inline constexpr int32_t kNoSymbol = -1;  // a string that neither a token nor a merge knows

struct Symbol {
  int32_t id = kNoSymbol;
  uint32_t begin = 0;  // in the piece
  uint32_t size = 0;   // bytes; 0 = merged into the one before
  int32_t previous = -1;
  int32_t next = -1;
};

// Merges the symbols of one piece; keeps its memory from piece to piece. Not thread-safe.
class PieceMerger {
 public:
  // To be filled with id, begin and size before Merge.
  std::vector<Symbol>& symbols() { return symbols_; }

  // Joins neighbours as long as merges(left, right), a MergeResult, allows.
  template <typename Merges>
  void Merge(const Merges& merges) {
    for (size_t i = 0; i < symbols_.size(); ++i) {
      symbols_[i].previous = static_cast<int32_t>(i) - 1;
      symbols_[i].next = i + 1 == symbols_.size() ? -1 : static_cast<int32_t>(i) + 1;
    }
    symbols_.size() <= kMaxScan ? MergeByScan(merges) : MergeByQueue(merges);
  }

 private:
  // Pieces of ordinary text are short: a scan over all pairs for each merge beats a queue up to about this many.
  static constexpr size_t kMaxScan = 24;

  Symbol& at(int32_t index) { return symbols_[static_cast<size_t>(index)]; }

  template <typename Merges>
  void MergeByScan(const Merges& merges) {
    // pairs[i]: the merge of symbol i with the next one.
    std::array<MergeResult, kMaxScan> pairs;
    const auto update = [&](int32_t left) {
      const int32_t right = at(left).next;
      pairs[static_cast<size_t>(left)] = right == -1 ? MergeResult{} : merges(at(left), at(right));
    };
    for (int32_t i = 0; i < static_cast<int32_t>(symbols_.size()); ++i) update(i);
    while (true) {
      int32_t best = -1;
      int32_t best_rank = 0;
      for (int32_t i = symbols_.empty() ? -1 : 0; i != -1; i = at(i).next) {
        const MergeResult& pair = pairs[static_cast<size_t>(i)];
        if (pair.merged >= 0 && (best == -1 || pair.rank < best_rank)) {
          best = i;
          best_rank = pair.rank;
        }
      }
      if (best == -1) return;
      Join(best, pairs[static_cast<size_t>(best)].merged);
      update(best);
      if (at(best).previous != -1) update(at(best).previous);
    }
  }

  template <typename Merges>
  void MergeByQueue(const Merges& merges) {
    const auto push = [&](int32_t left) {
      if (left == -1 || at(left).next == -1) return;
      const Symbol& right = at(at(left).next);
      const MergeResult value = merges(at(left), right);
      if (value.merged >= 0) queue_.push({value.rank, left, at(left).size + right.size, value.merged});
    };
    for (int32_t i = 0; i < static_cast<int32_t>(symbols_.size()); ++i) push(i);
    while (!queue_.empty()) {
      const Candidate candidate = queue_.top();
      queue_.pop();
      // Outdated if either side has changed since: then the sizes differ.
      const Symbol& left = at(candidate.left);
      if (left.size == 0 || left.next == -1 || left.size + at(left.next).size != candidate.size) continue;
      Join(candidate.left, candidate.merged);
      push(left.previous);
      push(candidate.left);
    }
  }

  void Join(int32_t index, int32_t merged) {
    Symbol& left = at(index);
    Symbol& right = at(left.next);
    left.id = merged;
    left.size += right.size;
    right.size = 0;
    left.next = right.next;
    if (right.next != -1) at(right.next).previous = index;
  }

  struct Candidate {
    int32_t rank = 0;
    int32_t left = 0;
    uint32_t size = 0;
    int32_t merged = 0;
    // For a queue whose top is the lowest rank, then the leftmost.
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };

  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> queue_;
};

// Remembers where in this text a piece was seen and where its tokens are in the output: words repeat.
class PieceCache {
 public:
  explicit PieceCache(size_t text_size) : entries_(text_size < kMinText ? 0 : kNumEntries), seed_(HashSeed()) {}

  // Appends the tokens of `piece` to `out`, by calling `encode` (which must do so) if the piece is not remembered.
  // REQUIRES: `out` is the same in every call and only grows; the bytes of pieces stay.
  template <typename Encoder>
  void Encode(std::string_view piece, std::vector<int32_t>& out, const Encoder& encode) {
    // Short texts do not repay the table, long pieces do not repeat.
    if (entries_.empty() || piece.size() > kMaxPiece) return encode();
    Entry& entry = entries_[HashString(piece, seed_) % kNumEntries];
    if (entry.piece != piece) {
      entry = {piece, out.size(), 0};
      encode();
      entry.num_tokens = out.size() - entry.first_token;
      return;
    }
    for (size_t i = 0; i < entry.num_tokens; ++i) out.push_back(out[entry.first_token + i]);
  }

 private:
  static constexpr size_t kMinText = 4096;
  static constexpr size_t kNumEntries = 8192;
  static constexpr size_t kMaxPiece = 64;
  struct Entry {
    std::string_view piece;
    size_t first_token = 0;
    size_t num_tokens = 0;
  };
  std::vector<Entry> entries_;
  uint64_t seed_;
};

}  // namespace lem
