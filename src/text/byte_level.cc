#include "text/byte_level.h"

#include "text/utf8.h"

namespace lem {
namespace {

constexpr bool IsItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The first 256 + 68 code points hold the alphabet.
constexpr char32_t kAlphabetEnd = 0x144;

// Byte by code point, -1 where the code point is not of the alphabet.
constexpr std::array<int16_t, kAlphabetEnd> MakeByteOfCodepoint() {
  std::array<int16_t, kAlphabetEnd> out{};
  for (int16_t& byte : out) byte = -1;
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    out[IsItself(byte) ? static_cast<char32_t>(byte) : next++] = static_cast<int16_t>(byte);
  }
  return out;
}
constexpr std::array<int16_t, kAlphabetEnd> kByteOfCodepoint = MakeByteOfCodepoint();

}  // namespace

const std::array<ByteSpelling, 256>& ByteLevelAlphabet() {
  static const std::array<ByteSpelling, 256> alphabet = [] {
    std::array<ByteSpelling, 256> out;
    for (char32_t codepoint = 0; codepoint < kAlphabetEnd; ++codepoint) {
      if (kByteOfCodepoint[codepoint] < 0) continue;
      std::string utf8;
      AppendUtf8(codepoint, utf8);
      ByteSpelling& spelling = out[static_cast<size_t>(kByteOfCodepoint[codepoint])];
      spelling.num_bytes = static_cast<uint8_t>(utf8.copy(spelling.bytes, sizeof spelling.bytes));
    }
    return out;
  }();
  return alphabet;
}

void AppendByteLevel(std::string_view text, std::string& out) {
  const auto& alphabet = ByteLevelAlphabet();
  for (const char c : text) out += alphabet[static_cast<uint8_t>(c)].view();
}

std::string DecodeByteLevel(std::string_view spelled) {
  std::string out;
  for (size_t offset = 0; offset < spelled.size();) {
    const Codepoint codepoint = DecodeCodepoint(spelled, offset);
    if (codepoint.value < kAlphabetEnd && kByteOfCodepoint[codepoint.value] >= 0) {
      out.push_back(static_cast<char>(kByteOfCodepoint[codepoint.value]));
    } else {
      out += spelled.substr(offset, codepoint.num_bytes);
    }
    offset += codepoint.num_bytes;
  }
  return out;
}

}  // namespace lem
