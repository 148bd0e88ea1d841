#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <array>

namespace lem::jinja {
namespace {

constexpr char32_t kReplacement = 0xfffd;
constexpr char32_t kSharpS = 0xdf;

utf8proc_category_t Category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }
bool IsTail(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// Size of the valid character at `pos`, 0 if there is none.
size_t ValidSize(std::string_view text, size_t pos, char32_t* code) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const unsigned char lead = byte(0);
  size_t size = 0;
  char32_t value = 0;
  if (lead < 0x80) {
    *code = lead;
    return 1;
  }
  if (lead >= 0xc2 && lead <= 0xdf) {
    size = 2;
    value = lead & 0x1fu;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    size = 3;
    value = lead & 0x0fu;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    size = 4;
    value = lead & 0x07u;
  } else {
    return 0;
  }
  if (text.size() - pos < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if (!IsTail(text[pos + i])) return 0;
    value = value << 6 | (byte(i) & 0x3fu);
  }
  const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (overlong || surrogate || value > 0x10ffff) return 0;
  *code = value;
  return size;
}

}  // namespace

CodePoint DecodeAt(std::string_view text, size_t pos) {
  char32_t code = kReplacement;
  const size_t size = ValidSize(text, pos, &code);
  return {code, size == 0 ? 1 : size};
}

size_t PreviousChar(std::string_view text, size_t pos) {
  // At most four bytes back there is a lead byte whose character ends exactly here; else the last byte stands alone.
  for (size_t back = 1; back <= 4 && back <= pos; ++back) {
    if (IsTail(text[pos - back])) continue;
    char32_t code = 0;
    if (ValidSize(text, pos - back, &code) == back) return pos - back;
    break;
  }
  return pos - 1;
}

void AppendUtf8(std::string& out, char32_t code) {
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) code = kReplacement;
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(size));
}

bool IsValidUtf8(std::string_view text) {
  char32_t code = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t size = ValidSize(text, pos, &code);
    if (size == 0) return false;
    pos += size;
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
    AppendUtf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
  }
}
void AppendLower(std::string& out, char32_t code) {
  AppendUtf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}
void AppendTitle(std::string& out, char32_t code) {
  if (code == kSharpS) {
    out += "Ss";
  } else {
    AppendUtf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
  }
}

}  // namespace lem::jinja
