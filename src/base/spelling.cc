#include "base/spelling.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace lem {
namespace {

constexpr size_t kMaxWordBytes = 128;  // the distance takes quadratic time; nobody mistypes longer names

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

size_t EditDistance(std::string_view a, std::string_view b) {
  // Three rows of the dynamic-programming table: d[i][j] = distance of the first i bytes of a to the first j of b.
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, above);
    std::swap(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::vector<std::string> CloseMatches(std::string_view word, std::span<const std::string> known, size_t max_matches) {
  std::vector<std::string> matches;
  if (word.empty() || word.size() > kMaxWordBytes) return matches;
  const std::string wanted = Lower(word);
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& candidate : known) {
    if (candidate.size() > kMaxWordBytes) continue;
    const std::string lower = Lower(candidate);
    const size_t distance = EditDistance(wanted, lower);
    // One error for every three letters typed; "smollm" also finds "smollm2:135m".
    const bool near = distance <= std::max<size_t>(1, wanted.size() / 3);
    if (near || (wanted.size() >= 3 && lower.starts_with(wanted))) ranked.emplace_back(distance, candidate);
  }
  std::sort(ranked.begin(), ranked.end());
  for (auto& [distance, candidate] : ranked) {
    if (matches.size() == max_matches) break;
    if (std::find(matches.begin(), matches.end(), candidate) == matches.end()) matches.push_back(std::move(candidate));
  }
  return matches;
}

std::string DidYouMean(std::string_view word, std::span<const std::string> known) {
  const std::vector<std::string> matches = CloseMatches(word, known);
  return matches.empty() ? std::string() : fmt::format("; did you mean {}?", fmt::join(matches, ", "));
}

}  // namespace lem
