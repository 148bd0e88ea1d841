#include "text/special_matcher.h"

#include <algorithm>

namespace lem {
namespace {

bool IsAsciiSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

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

std::vector<int32_t> SpecialMatcher::FindPresent(const Table& table, std::string_view text) {
  std::vector<int32_t> present;
  if (table.tokens.empty()) return present;
  std::vector<bool> seen(table.tokens.size());
  for (size_t begin = 0; begin < text.size(); ++begin) {
    ByteTrie::Node node = table.trie.Root();
    for (size_t at = begin; at < text.size() && table.trie.Step(node, text[at]); ++at) {
      const int32_t value = table.trie.ValueOf(node);
      if (value == ByteTrie::kNoValue || seen[static_cast<size_t>(value)]) continue;
      seen[static_cast<size_t>(value)] = true;
      present.push_back(value);
    }
  }
  std::sort(present.begin(), present.end());
  return present;
}

template <typename Find>
void SpecialMatcher::CutOne(TokenId token, const Find& find, std::vector<TextFragment>& fragments,
                            std::vector<TextFragment>& scratch) const {
  const std::string_view name = vocabulary_.text(token);
  scratch.clear();
  for (const TextFragment& fragment : fragments) {
    std::string_view rest = fragment.text;
    size_t found = fragment.token == Vocabulary::kNone ? find(rest, name) : std::string_view::npos;
    if (found == std::string_view::npos) {
      scratch.push_back(fragment);
      continue;
    }
    for (; found != std::string_view::npos; found = find(rest, name)) {
      std::string_view left = rest.substr(0, found);
      rest.remove_prefix(found + name.size());
      if (vocabulary_.Is(token, token_attribute::kStripLeft)) {
        while (!left.empty() && IsAsciiSpace(left.back())) left.remove_suffix(1);
      }
      if (vocabulary_.Is(token, token_attribute::kStripRight)) {
        while (!rest.empty() && IsAsciiSpace(rest.front())) rest.remove_prefix(1);
      }
      if (!left.empty()) scratch.push_back({Vocabulary::kNone, left});
      scratch.push_back({token, {}});
    }
    if (!rest.empty()) scratch.push_back({Vocabulary::kNone, rest});
  }
  fragments.swap(scratch);
}

template <typename Allows>
std::vector<TextFragment> SpecialMatcher::CutTokens(const Table& table, std::string_view text,
                                                    const Allows& allows) const {
  std::vector<TextFragment> fragments;
  if (text.empty()) return fragments;
  fragments.push_back({Vocabulary::kNone, text});
  std::vector<TextFragment> scratch;
  for (const int32_t position : FindPresent(table, text)) {
    const TokenId token = table.tokens[static_cast<size_t>(position)];
    const auto find = [&](std::string_view rest, std::string_view name) {
      size_t found = rest.find(name);
      while (found != std::string_view::npos) {
        const auto begin = static_cast<size_t>(rest.data() - text.data()) + found;
        if (allows(token, begin, begin + name.size())) break;
        found = rest.find(name, found + 1);
      }
      return found;
    };
    CutOne(token, find, fragments, scratch);
  }
  return fragments;
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
