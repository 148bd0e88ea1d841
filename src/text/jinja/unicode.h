// Code points in UTF-8 as Python's str sees them: strict, unlike the tokenisers' view in text/utf8.h. Bytes that are
// not valid UTF-8 count as one character each, so that every function is total.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lem::jinja {

struct CodePoint {
  char32_t code = 0;
  size_t size = 0;  // bytes, 1 to 4
};

// REQUIRES: pos < text.size().
CodePoint DecodeSequenceAt(std::string_view text, size_t pos);
inline CodePoint DecodeAt(std::string_view text, size_t pos) {
  const auto first = static_cast<unsigned char>(text[pos]);
  return first < 0x80 ? CodePoint{first, 1} : DecodeSequenceAt(text, pos);
}
// Start of the character that ends before `pos`. REQUIRES: 0 < pos <= text.size().
size_t PreviousChar(std::string_view text, size_t pos);
// Surrogates and numbers above 0x10ffff are written as U+FFFD.
void AppendChar(std::string& out, char32_t code);
bool IsValidUtf8(std::string_view text);

size_t CountChars(std::string_view text);
// Byte offset of the character with this index, at most text.size().
size_t CharOffset(std::string_view text, size_t char_idx);

bool IsSpace(char32_t code);      // str.isspace
bool IsLineBreak(char32_t code);  // what str.splitlines cuts at
bool IsAlpha(char32_t code);
bool IsDecimal(char32_t code);
bool IsNumeric(char32_t code);
bool IsUpper(char32_t code);
bool IsLower(char32_t code);
bool IsPrintable(char32_t code);
inline bool IsCased(char32_t code) { return IsUpper(code) || IsLower(code); }
inline bool IsWordChar(char32_t code) { return code == '_' || IsAlpha(code) || IsNumeric(code); }

// Case mapping of one character; U+00DF has two upper-case letters, so text comes back.
void AppendUpper(std::string& out, char32_t code);
void AppendLower(std::string& out, char32_t code);
void AppendTitle(std::string& out, char32_t code);

}  // namespace lem::jinja
