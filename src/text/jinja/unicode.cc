#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <array>

#include "text/utf8.h"

namespace lem::jinja {
namespace {

constexpr char32_t kSharpS = 0xdf;

utf8proc_category_t Category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

bool IsBroken(const CodePoint& c) { return c.code == kReplacementCharacter && c.size == 1; }

}  // namespace

CodePoint DecodeSequenceAt(std::string_view text, size_t pos) {
  static constexpr std::array<char32_t, 5> kLeastOfSize = {0, 0, 0x80, 0x800, 0x10000};
  const Codepoint c = DecodeCodepoint(text, pos);
  const bool surrogate = c.value >= 0xd800 && c.value <= 0xdfff;
  if (c.value < kLeastOfSize[c.num_bytes] || surrogate) return {kReplacementCharacter, 1};
  return {c.value, c.num_bytes};
}

size_t PreviousChar(std::string_view text, size_t pos) {
  // At most four bytes back a character begins that ends exactly here; else the last byte stands alone.
  for (size_t back = 1; back <= 4 && back <= pos; ++back) {
    const CodePoint c = DecodeAt(text, pos - back);
    if (c.size == back && !IsBroken(c)) return pos - back;
  }
  return pos - 1;
}

void AppendChar(std::string& out, char32_t code) {
  const bool valid = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  AppendUtf8(valid ? code : kReplacementCharacter, out);
}

bool IsValidUtf8(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = DecodeAt(text, pos);
    if (IsBroken(c)) return false;
    pos += c.size;
  }
  return true;
}

size_t CountChars(std::string_view text) {
  size_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) pos += DecodeAt(text, pos).size;
  return count;
}

size_t CharOffset(std::string_view text, size_t char_idx) {
  size_t pos = 0;
  for (; char_idx > 0 && pos < text.size(); --char_idx) pos += DecodeAt(text, pos).size;
  return pos;
}

bool IsSpace(char32_t code) {
  return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
         code == 0x205f || code == 0x3000;
}

bool IsLineBreak(char32_t code) {
  return (code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code == 0x85 || code == 0x2028 ||
         code == 0x2029;
}

bool IsAlpha(char32_t code) {
  const auto category = Category(code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool IsDecimal(char32_t code) { return Category(code) == UTF8PROC_CATEGORY_ND; }
bool IsNumeric(char32_t code) {
  const auto category = Category(code);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}
bool IsUpper(char32_t code) { return utf8proc_isupper(static_cast<utf8proc_int32_t>(code)) != 0; }
bool IsLower(char32_t code) { return utf8proc_islower(static_cast<utf8proc_int32_t>(code)) != 0; }

bool IsPrintable(char32_t code) {
  switch (Category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return code == ' ';
    default:
      return true;
  }
}

void AppendUpper(std::string& out, char32_t code) {
  if (code == kSharpS) {
    out += "SS";
  } else {
    AppendChar(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
  }
}
void AppendLower(std::string& out, char32_t code) {
  AppendChar(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}
void AppendTitle(std::string& out, char32_t code) {
  if (code == kSharpS) {
    out += "Ss";
  } else {
    AppendChar(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
  }
}

}  // namespace lem::jinja
