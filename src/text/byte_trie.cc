#include "text/byte_trie.h"

#include <algorithm>
#include <tuple>

namespace lem {

ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& entry) { return entry.text.empty(); });
  if (entries.empty()) return;
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.text, a.value) < std::tie(b.text, b.value); });
  // Breadth first: each node owns the range of entries that begin with its path.
  struct Range {
    size_t begin = 0;
    size_t end = 0;
  };
  nodes_.push_back({});
  std::vector<Range> level = {{0, entries.size()}};
  size_t level_begin = 0;
  for (size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Range> next_level;
    const size_t next_begin = nodes_.size();
    for (size_t i = 0; i < level.size(); ++i) {
      const size_t node = level_begin + i;
      size_t at = level[i].begin;
      // Entries that end here come first.
      if (entries[at].text.size() == depth) nodes_[node].value = entries[at].value;
      while (at < level[i].end && entries[at].text.size() == depth) ++at;
      nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
      while (at < level[i].end) {
        const uint8_t byte = static_cast<uint8_t>(entries[at].text[depth]);
        const size_t begin = at;
        while (at < level[i].end && static_cast<uint8_t>(entries[at].text[depth]) == byte) ++at;
        nodes_.push_back({.first_child = 0, .value = kNoValue, .num_children = 0, .byte = byte});
        ++nodes_[node].num_children;
        next_level.push_back({begin, at});
      }
    }
    level.swap(next_level);
    level_begin = next_begin;
  }
  const NodeData& root = nodes_[0];
  for (uint32_t child = root.first_child; child < root.first_child + root.num_children; ++child) {
    root_children_[nodes_[child].byte] = child;
  }
}

}  // namespace lem
