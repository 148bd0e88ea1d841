// "Did you mean ...?": the known words nearest to one that a person typed.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lem {

// Number of one-character insertions, deletions, replacements and swaps of neighbours between the two.
size_t EditDistance(std::string_view a, std::string_view b);

// At most max_matches of `known`, nearest first: those that a few typing errors explain or that begin with `word`
// (case ignored). Empty if nothing is near.
std::vector<std::string> CloseMatches(std::string_view word, std::span<const std::string> known,
                                      size_t max_matches = 3);

// "; did you mean a, b?", or nothing if nothing is near.
std::string DidYouMean(std::string_view word, std::span<const std::string> known);

}  // namespace lem
