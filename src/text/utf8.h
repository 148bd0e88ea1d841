// UTF-8 and Unicode properties as tokenisers need them: the decoding rules and character classes of llama.cpp, so that
// token ids agree with it on any bytes. Categories come from utf8proc. All functions are pure and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lem {

// One class for every code point. White space is a class of its own (llama.cpp's set: ASCII controls 9 to 13, U+0085
// and all of Z); control is Cc, Cf, Cs and Co without it; undefined is Cn.
enum class CharClass : uint8_t {
  kUndefined,
  kNumber,       // \p{N}
  kLetter,       // \p{L}
  kMark,         // \p{M}
  kPunctuation,  // \p{P}
  kSymbol,       // \p{S}
  kControl,
  kWhitespace,
};
inline constexpr int kNumCharClasses = 8;

struct Codepoint {
  char32_t value = 0;
  uint8_t num_bytes = 0;
};

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

// The code point at text[offset]. A byte that begins no sequence is U+FFFD of length 1; surrogates and overlong forms
// are taken at face value, as llama.cpp does. REQUIRES: offset < text.size().
Codepoint DecodeCodepoint(std::string_view text, size_t offset);

// Appends the shortest form. REQUIRES: value <= 0x10FFFF.
void AppendUtf8(char32_t value, std::string& out);

// True if decoding and encoding again by the two functions above would give the same bytes.
bool IsStableUtf8(std::string_view text);
// `text` decoded and encoded again: every broken byte becomes U+FFFD.
std::string StabiliseUtf8(std::string_view text);

// Bytes of a sequence as its first byte claims: 1 to 4 (1 for a continuation byte).
inline size_t ClaimedUtf8Length(char first) {
  constexpr uint8_t kLengths[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
  return kLengths[static_cast<uint8_t>(first) >> 4];
}

CharClass ClassOf(char32_t value);
bool IsHan(char32_t value);
// Simple lower case, and the first code point of the canonical decomposition.
char32_t ToLower(char32_t value);
char32_t DecompositionBase(char32_t value);

}  // namespace lem
