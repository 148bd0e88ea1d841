// GPT-2's byte alphabet: every byte is written as one printable code point, so that any bytes can stand in a vocabulary
// of strings. '!' to '~', 0xA1 to 0xAC and 0xAE to 0xFF are themselves; the others are U+0100 and up, in order.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lem {

struct ByteSpelling {
  char bytes[2] = {0, 0};
  uint8_t num_bytes = 0;
  std::string_view view() const { return {bytes, num_bytes}; }
};

const std::array<ByteSpelling, 256>& ByteLevelAlphabet();
// Appends `text` in the byte alphabet.
void AppendByteLevel(std::string_view text, std::string& out);
// The bytes that `spelled` stands for; a code point outside the alphabet stands for itself.
std::string DecodeByteLevel(std::string_view spelled);

}  // namespace lem
