#include "text/special_matcher.h"

#include <algorithm>
#include <queue>

namespace lem {
namespace {

bool IsAsciiSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// A token that may begin at `begin`; the least order, then the leftmost, is tried first.
struct Candidate {
  int32_t order = 0;
  size_t begin = 0;
  bool operator<(const Candidate& other) const {
    return order != other.order ? order > other.order : begin > other.begin;
  }
};

// A token and the bytes that it replaces.
struct TokenCut {
  TokenId token = Vocabulary::kNone;
  size_t begin = 0;
  size_t end = 0;
};

std::vector<TextFragment> Fragments(std::string_view text, std::vector<TokenCut> cuts) {
  std::sort(cuts.begin(), cuts.end(), [](const TokenCut& a, const TokenCut& b) { return a.begin < b.begin; });
  std::vector<TextFragment> out;
  const auto add_text = [&](size_t begin, size_t end) {
    if (begin < end) out.push_back({Vocabulary::kNone, text.substr(begin, end - begin)});
  };
  size_t begin = 0;
  for (const TokenCut& cut : cuts) {
    add_text(begin, cut.begin);
    out.push_back({cut.token, {}});
    begin = cut.end;
  }
  add_text(begin, text.size());
  return out;
}

}  // namespace

SpecialMatcher::SpecialMatcher(const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      always_(MakeTable(vocabulary, token_attribute::kControl | token_attribute::kUnknown)),
      parsed_(MakeTable(vocabulary, 0)) {}

SpecialMatcher::Table SpecialMatcher::MakeTable(const Vocabulary& vocabulary, uint16_t excluded_attributes) {
  Table table;
  std::vector<ByteTrie::Entry> entries;
  for (const TokenId id : vocabulary.special_tokens()) {
    if (vocabulary.Is(id, excluded_attributes)) continue;
    entries.push_back({vocabulary.text(id), static_cast<int32_t>(table.tokens.size())});
    table.tokens.push_back(id);
  }
  table.trie = ByteTrie(std::move(entries));
  return table;
}

template <typename Allows>
std::vector<TextFragment> SpecialMatcher::CutTokens(const Table& table, std::string_view text,
                                                    const Allows& allows) const {
  // Each place where a token begins is tried with its longest token first, and with the next that still fits when that
  // has lost bytes to another one. So the work stays small even where a hundred tokens begin at every byte.
  std::priority_queue<Candidate> queue;
  const auto offer = [&](size_t begin, size_t max_end) {
    int32_t longest = ByteTrie::kNoValue;
    ByteTrie::Node node = table.trie.Root();
    for (size_t at = begin; at < max_end && table.trie.Step(node, text[at]); ++at) {
      const int32_t order = table.trie.ValueOf(node);
      if (order == ByteTrie::kNoValue) continue;
      if (allows(table.tokens[static_cast<size_t>(order)], begin, at + 1)) longest = order;
    }
    if (longest != ByteTrie::kNoValue) queue.push({longest, begin});
  };
  for (size_t begin = 0; begin < text.size(); ++begin) offer(begin, text.size());

  std::vector<bool> taken(queue.empty() ? 0 : text.size());
  std::vector<TokenCut> cuts;
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    const TokenId token = table.tokens[static_cast<size_t>(candidate.order)];
    const size_t end = candidate.begin + vocabulary_.text(token).size();
    size_t free_end = candidate.begin;
    while (free_end < end && !taken[free_end]) ++free_end;
    if (free_end < end) {
      if (free_end > candidate.begin) offer(candidate.begin, free_end);
      continue;
    }
    TokenCut cut{token, candidate.begin, end};
    if (vocabulary_.Is(token, token_attribute::kStripLeft)) {
      while (cut.begin > 0 && !taken[cut.begin - 1] && IsAsciiSpace(text[cut.begin - 1])) --cut.begin;
    }
    if (vocabulary_.Is(token, token_attribute::kStripRight)) {
      while (cut.end < text.size() && !taken[cut.end] && IsAsciiSpace(text[cut.end])) ++cut.end;
    }
    std::fill(taken.begin() + static_cast<ptrdiff_t>(cut.begin), taken.begin() + static_cast<ptrdiff_t>(cut.end), true);
    cuts.push_back(cut);
  }
  return Fragments(text, std::move(cuts));
}

std::vector<TextFragment> SpecialMatcher::Cut(std::string_view text, SpecialTokens special) const {
  return CutTokens(special == SpecialTokens::kParse ? parsed_ : always_, text,
                   [](TokenId, size_t, size_t) { return true; });
}

std::vector<TextFragment> SpecialMatcher::CutWithin(std::string_view text, std::span<const ByteRange> parsed) const {
  return CutTokens(parsed_, text, [&](TokenId token, size_t begin, size_t end) {
    if (!vocabulary_.Is(token, token_attribute::kControl | token_attribute::kUnknown)) return true;
    const auto after = std::ranges::upper_bound(parsed, begin, {}, &ByteRange::begin);
    return after != parsed.begin() && end <= std::prev(after)->end;
  });
}

}  // namespace lem
