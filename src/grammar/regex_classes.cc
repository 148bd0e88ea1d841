#include "grammar/regex_classes.h"

#include <utf8proc.h>

#include <array>
#include <map>
#include <string>

namespace lem {
namespace {

// Folding looks at every character of a set up to this many; of larger sets at the ASCII letters.
constexpr char32_t kMaxFolded = 4096;

const std::map<std::string, CodePointSet, std::less<>>& Categories() {
  static const auto categories = [] {
    std::map<std::string, CodePointSet, std::less<>> sets;
    char32_t begin = 0;
    for (char32_t value = 1; value <= kMaxCodePoint + 1; ++value) {
      const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(begin));
      if (value <= kMaxCodePoint && utf8proc_category(static_cast<utf8proc_int32_t>(value)) == category) continue;
      const std::string name = utf8proc_category_string(static_cast<utf8proc_int32_t>(begin));
      sets[name].Add(begin, value - 1);
      sets[name.substr(0, 1)].Add(begin, value - 1);
      begin = value;
    }
    return sets;
  }();
  return categories;
}

}  // namespace

CodePointSet DigitClass() { return {{'0', '9'}}; }
CodePointSet WordClass() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
CodePointSet WhitespaceClass() {
  return {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}
CodePointSet AnyButLineEnds() { return CodePointSet{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}.Complement(); }

std::optional<CodePointSet> CategoryClass(std::string_view name) {
  static const std::map<std::string_view, std::string_view> kLongNames = {{"Letter", "L"},
                                                                          {"Uppercase_Letter", "Lu"},
                                                                          {"Lowercase_Letter", "Ll"},
                                                                          {"Titlecase_Letter", "Lt"},
                                                                          {"Modifier_Letter", "Lm"},
                                                                          {"Other_Letter", "Lo"},
                                                                          {"Mark", "M"},
                                                                          {"Number", "N"},
                                                                          {"Decimal_Number", "Nd"},
                                                                          {"Letter_Number", "Nl"},
                                                                          {"Other_Number", "No"},
                                                                          {"Punctuation", "P"},
                                                                          {"Symbol", "S"},
                                                                          {"Separator", "Z"},
                                                                          {"Space_Separator", "Zs"},
                                                                          {"Other", "C"},
                                                                          {"Control", "Cc"},
                                                                          {"digit", "Nd"},
                                                                          {"punct", "P"}};
  if (const auto known = kLongNames.find(name); known != kLongNames.end()) name = known->second;
  const auto& categories = Categories();
  const auto found = categories.find(name);
  return found == categories.end() ? std::nullopt : std::optional(found->second);
}

std::optional<CodePointSet> PosixClass(std::string_view name) {
  if (name == "alpha") return CodePointSet{{'A', 'Z'}, {'a', 'z'}};
  if (name == "alnum") return CodePointSet{{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};
  if (name == "digit") return DigitClass();
  if (name == "lower") return CodePointSet{{'a', 'z'}};
  if (name == "upper") return CodePointSet{{'A', 'Z'}};
  if (name == "space") return CodePointSet{{'\t', '\r'}, {' ', ' '}};
  if (name == "punct") return CodePointSet{{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}};
  if (name == "xdigit") return CodePointSet{{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  if (name == "word") return WordClass();
  return std::nullopt;
}

CodePointSet IgnoreCase(const CodePointSet& set) {
  CodePointSet folded = set;
  for (const CodePointSet::Range& range : set.ranges()) {
    const bool small = range.high - range.low < kMaxFolded;
    for (char32_t value = range.low; value <= (small ? range.high : std::min<char32_t>(range.high, 127)); ++value) {
      const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(value)));
      const auto upper = static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(value)));
      folded.Add(lower, lower);
      folded.Add(upper, upper);
    }
  }
  return folded;
}

}  // namespace lem
