#include "text/charsmap.h"

#include <cstring>

namespace lem {
namespace {

// REQUIRES: at least 4 bytes.
uint32_t LoadUint32(std::string_view from) {
  uint32_t value = 0;
  std::memcpy(&value, from.data(), sizeof value);
  return value;
}

uint32_t OffsetOf(uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }
bool HasValue(uint32_t unit) { return (unit >> 8 & 1) != 0; }
// Bit 31 marks a value, which no byte leads to.
uint32_t LabelOf(uint32_t unit) { return unit & (1U << 31 | 0xFF); }

}  // namespace

Result<Charsmap> Charsmap::Parse(std::string_view bytes) {
  Charsmap out;
  if (bytes.empty()) return out;
  if (bytes.size() < sizeof(uint32_t)) {
    return DataLoss("tokenizer.ggml.precompiled_charsmap has {} bytes; allowed: none or more than 4", bytes.size());
  }
  const uint32_t trie_bytes = LoadUint32(bytes);
  bytes.remove_prefix(sizeof(uint32_t));
  if (trie_bytes >= bytes.size()) {
    return DataLoss("tokenizer.ggml.precompiled_charsmap says its trie has {} bytes; only {} are left", trie_bytes,
                    bytes.size());
  }
  out.trie_ = bytes.substr(0, trie_bytes);
  out.strings_ = bytes.substr(trie_bytes);
  return out;
}

std::optional<uint32_t> Charsmap::Unit(size_t index) const {
  if (index >= trie_.size() / sizeof(uint32_t)) return std::nullopt;
  return LoadUint32(trie_.substr(index * sizeof(uint32_t)));
}

std::optional<Charsmap::Replacement> Charsmap::Longest(std::string_view text) const {
  std::optional<uint32_t> unit = Unit(0);
  if (!unit) return std::nullopt;
  std::optional<Replacement> longest;
  size_t node = OffsetOf(*unit);
  for (size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    const uint8_t byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    unit = Unit(node);
    if (!unit || LabelOf(*unit) != byte) break;
    node ^= OffsetOf(*unit);
    if (!HasValue(*unit)) continue;
    const std::optional<uint32_t> value = Unit(node);
    if (!value) break;
    const size_t position = *value & 0x7FFFFFFF;
    if (position >= strings_.size()) break;
    const std::string_view rest = strings_.substr(position);
    const size_t terminator = rest.find('\0');
    if (terminator == std::string_view::npos) break;
    longest = Replacement{i + 1, rest.substr(0, terminator)};
  }
  return longest;
}

}  // namespace lem
