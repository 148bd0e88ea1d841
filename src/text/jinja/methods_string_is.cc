// Methods of str that answer a question: isalpha, isdigit, isupper, ...
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

bool IsAlnum(char32_t code) { return IsAlpha(code) || IsNumeric(code); }
bool IsAsciiChar(char32_t code) { return code < 0x80; }
// Superscripts are digits but not decimals; other numeric characters (fractions, Roman numerals) are neither.
bool IsDigitChar(char32_t code) {
  return IsDecimal(code) || code == 0xb2 || code == 0xb3 || code == 0xb9 || code == 0x2070 ||
         (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089);
}

enum class Empty : uint8_t { kFalse, kTrue };

// True if every character fits.
template <bool (*fits)(char32_t), Empty empty = Empty::kFalse>
Result<Value> All(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("method", args));
  const std::string_view text = self.text();
  in.heap().SpendBytes(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = DecodeAt(text, pos);
    if (!fits(c.code)) return Value::Bool(false);
    pos += c.size;
  }
  return Value::Bool(!text.empty() || empty == Empty::kTrue);
}

// True if there is a cased letter and every cased letter fits.
template <bool (*fits)(char32_t)>
Result<Value> AllCased(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("method", args));
  const std::string_view text = self.text();
  in.heap().SpendBytes(text.size());
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = DecodeAt(text, pos);
    if (IsCased(c.code)) {
      if (!fits(c.code)) return Value::Bool(false);
      any = true;
    }
    pos += c.size;
  }
  return Value::Bool(any);
}

Result<Value> IsTitle(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_TRY(NoArguments("istitle", args));
  const std::string_view text = self.text();
  in.heap().SpendBytes(text.size());
  bool any = false;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = DecodeAt(text, pos);
    if (IsUpper(c.code) ? in_word : IsLower(c.code) && !in_word) return Value::Bool(false);
    in_word = IsCased(c.code);
    any |= in_word;
    pos += c.size;
  }
  return Value::Bool(any);
}

Result<Value> IsIdentifier(Interpreter& in, const Value& self, const Arguments& args) {
  LEM_ASSIGN_OR_RETURN(const Value word, All<IsWordChar>(in, self, args));
  return Value::Bool(IsTrue(word) && !IsNumeric(DecodeAt(self.text(), 0).code));
}

}  // namespace

std::span<const BuiltinEntry> StringTestMethods() {
  static constexpr BuiltinEntry kTable[] = {
      {"isalnum", All<IsAlnum>},      {"isalpha", All<IsAlpha>},     {"isascii", All<IsAsciiChar, Empty::kTrue>},
      {"isdecimal", All<IsDecimal>},  {"isdigit", All<IsDigitChar>}, {"isidentifier", IsIdentifier},
      {"islower", AllCased<IsLower>}, {"isnumeric", All<IsNumeric>}, {"isprintable", All<IsPrintable, Empty::kTrue>},
      {"isspace", All<IsSpace>},      {"istitle", IsTitle},          {"isupper", AllCased<IsUpper>},
  };
  return kTable;
}

}  // namespace lem::jinja
