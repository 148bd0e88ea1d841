#include "text/utf8.h"

#include <utf8proc.h>

#include <array>

namespace lem {
namespace {

bool IsContinuation(std::string_view text, size_t offset) {
  return offset < text.size() && (static_cast<uint8_t>(text[offset]) & 0xC0) == 0x80;
}

char32_t LowBits(char c, uint8_t mask) { return static_cast<uint8_t>(c) & mask; }

CharClass ClassFromUtf8proc(char32_t value) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(value))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return CharClass::kMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return CharClass::kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return CharClass::kSymbol;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return CharClass::kWhitespace;
    case UTF8PROC_CATEGORY_CC:
      return (value >= 0x09 && value <= 0x0D) || value == 0x85 ? CharClass::kWhitespace : CharClass::kControl;
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
      return CharClass::kControl;
    default:
      return CharClass::kUndefined;
  }
}

// Unicode 15.1 (llama.cpp's tables) added these; Debian 12's utf8proc has 15.0.
CharClass ClassOfUnassigned(char32_t value) {
  if ((value >= 0x2FFC && value <= 0x2FFF) || value == 0x31EF) return CharClass::kSymbol;
  if (value >= 0x2EBF0 && value <= 0x2EE5D) return CharClass::kLetter;
  return CharClass::kUndefined;
}

}  // namespace

Codepoint DecodeCodepoint(std::string_view text, size_t offset) {
  const uint8_t first = static_cast<uint8_t>(text[offset]);
  if (first < 0x80) return {first, 1};
  constexpr Codepoint kBroken{kReplacementCharacter, 1};
  if (first < 0xC0 || first >= 0xF8) return kBroken;
  if (!IsContinuation(text, offset + 1)) return kBroken;
  if (first < 0xE0) return {LowBits(text[offset], 0x1F) << 6 | LowBits(text[offset + 1], 0x3F), 2};
  if (!IsContinuation(text, offset + 2)) return kBroken;
  if (first < 0xF0) {
    return {LowBits(text[offset], 0x0F) << 12 | LowBits(text[offset + 1], 0x3F) << 6 | LowBits(text[offset + 2], 0x3F),
            3};
  }
  if (!IsContinuation(text, offset + 3)) return kBroken;
  const char32_t value = LowBits(text[offset], 0x07) << 18 | LowBits(text[offset + 1], 0x3F) << 12 |
                         LowBits(text[offset + 2], 0x3F) << 6 | LowBits(text[offset + 3], 0x3F);
  if (value > 0x10FFFF) return kBroken;
  return {value, 4};
}

void AppendUtf8(char32_t value, std::string& out) {
  if (value < 0x80) {
    out.push_back(static_cast<char>(value));
  } else if (value < 0x800) {
    out.push_back(static_cast<char>(0xC0 | value >> 6));
    out.push_back(static_cast<char>(0x80 | (value & 0x3F)));
  } else if (value < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | value >> 12));
    out.push_back(static_cast<char>(0x80 | (value >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (value & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | value >> 18));
    out.push_back(static_cast<char>(0x80 | (value >> 12 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (value >> 6 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (value & 0x3F)));
  }
}

bool IsStableUtf8(std::string_view text) {
  constexpr std::array<char32_t, 5> kLeastOfLength = {0, 0, 0x80, 0x800, 0x10000};
  for (size_t offset = 0; offset < text.size();) {
    if (static_cast<uint8_t>(text[offset]) < 0x80) {
      ++offset;
      continue;
    }
    const Codepoint codepoint = DecodeCodepoint(text, offset);
    if (codepoint.num_bytes == 1 || codepoint.value < kLeastOfLength[codepoint.num_bytes]) return false;
    offset += codepoint.num_bytes;
  }
  return true;
}

std::string StabiliseUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const Codepoint codepoint = DecodeCodepoint(text, offset);
    AppendUtf8(codepoint.value, out);
    offset += codepoint.num_bytes;
  }
  return out;
}

CharClass ClassOf(char32_t value) {
  const CharClass result = ClassFromUtf8proc(value);
  return result == CharClass::kUndefined ? ClassOfUnassigned(value) : result;
}

bool IsHan(char32_t value) {
  // CJK unified ideographs, extensions A to F, compatibility ideographs: the blocks, not only their assigned points.
  return (value >= 0x4E00 && value <= 0x9FFF) || (value >= 0x3400 && value <= 0x4DBF) ||
         (value >= 0x20000 && value <= 0x2A6DF) || (value >= 0x2A700 && value <= 0x2EBEF) ||
         (value >= 0xF900 && value <= 0xFAFF) || (value >= 0x2F800 && value <= 0x2FA1F);
}

char32_t ToLower(char32_t value) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(value)));
}

char32_t DecompositionBase(char32_t value) {
  std::array<utf8proc_int32_t, 8> buffer;  // the longest canonical decomposition of one code point has 4
  int last_boundclass = 0;
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(value), buffer.data(), buffer.size(),
                              static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE), &last_boundclass);
  return count > 0 ? static_cast<char32_t>(buffer[0]) : value;
}

}  // namespace lem
