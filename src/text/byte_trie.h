// A set of byte strings with a number each, walked byte by byte. Immutable after construction and thread-safe; does not
// keep the strings.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lem {

class ByteTrie {
 public:
  static constexpr int32_t kNoValue = -1;
  struct Entry {
    std::string_view text;
    int32_t value = kNoValue;  // at least 0
  };
  using Node = uint32_t;

  ByteTrie() = default;
  // Of equal texts the least value counts. Empty texts are left out.
  explicit ByteTrie(std::vector<Entry> entries);

  Node Root() const { return 0; }
  // Moves `node` to its child by `byte` and returns true, or returns false if there is none.
  bool Step(Node& node, char byte) const {
    if (nodes_.empty()) return false;
    const NodeData& data = nodes_[node];
    const uint8_t key = static_cast<uint8_t>(byte);
    if (node == 0) {
      if (root_children_[key] == 0) return false;
      node = root_children_[key];
      return true;
    }
    // Children lie side by side in the order of their bytes.
    uint32_t low = data.first_child;
    uint32_t high = low + data.num_children;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (nodes_[middle].byte < key) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == data.first_child + data.num_children || nodes_[low].byte != key) return false;
    node = low;
    return true;
  }
  int32_t ValueOf(Node node) const { return nodes_[node].value; }

 private:
  struct NodeData {
    uint32_t first_child = 0;
    int32_t value = kNoValue;
    uint16_t num_children = 0;
    uint8_t byte = 0;
  };
  std::vector<NodeData> nodes_;
  std::array<uint32_t, 256> root_children_{};  // 0: none
};

}  // namespace lem
