// Regular expressions: ECMA-262 (as JSON Schema has it) with what Rust adds. The parser makes expressions at once.
//
// Anchors: every part is up to four expressions, by whether it has to begin at the start of the text and to finish at
// its end. So ^ and $ may stand anywhere but inside a repetition.
#include <algorithm>
#include <array>
#include <optional>

#include "grammar/languages.h"
#include "grammar/regex_classes.h"
#include "text/utf8.h"

namespace lem {
namespace {

// Counts of {m,n}; the machine is made while it runs, so that large ones cost nothing before.
constexpr uint32_t kMaxCount = 1'000'000;

constexpr size_t kAtEnd = 1, kAtStart = 2;
using Part = std::array<ExprId, 4>;  // by kAtStart | kAtEnd
constexpr Part kNothing = {kEmpty, kEmpty, kEmpty, kEmpty};

class RegexParser {
 public:
  RegexParser(GrammarBuilder& builder, CodePointCoder& coder, std::string_view source, std::u32string pattern)
      : builder_(builder), exprs_(builder.exprs()), coder_(coder), source_(source), pattern_(std::move(pattern)) {}

  Result<Part> Parse() {
    LEM_ASSIGN_OR_RETURN(const Part part, Alternatives(0));
    if (at_ < pattern_.size()) return Error("has a ')' without its '('");
    return part;
  }

 private:
  template <typename... Args>
  Status Error(fmt::format_string<Args...> format, Args&&... args) const {
    return InvalidArgument("regular expression {}: {} (at character {})", Shown(),
                           fmt::format(format, std::forward<Args>(args)...), at_);
  }
  std::string Shown() const {
    constexpr size_t kMaxShown = 100;
    return source_.size() <= kMaxShown ? fmt::format("/{}/", source_)
                                       : fmt::format("/{}.../", StabiliseUtf8(source_.substr(0, kMaxShown)));
  }

  bool More() const { return at_ < pattern_.size(); }
  char32_t Peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : 0; }
  bool Take(char32_t c) {
    if (!More() || pattern_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool TakeText(std::u32string_view text) {
    if (pattern_.compare(at_, text.size(), text) != 0) return false;
    at_ += text.size();
    return true;
  }

  static Part Plain(ExprId expr) { return {expr, kEmpty, kEmpty, kEmpty}; }
  Part OfSet(const CodePointSet& set) { return Plain(coder_.Encode(ignore_case_ ? IgnoreCase(set) : set)); }

  Part Join(const Part& a, const Part& b) {
    Part joined = kNothing;
    for (size_t i = 0; i < 4; ++i) {
      for (size_t j = 0; j < 4; ++j) {
        ExprId first = a[i], second = b[j];
        if (first == kEmpty || second == kEmpty) continue;
        if ((i & kAtEnd) != 0) second = exprs_.Nullable(second) ? kEpsilon : kEmpty;
        if ((j & kAtStart) != 0) first = exprs_.Nullable(first) ? kEpsilon : kEmpty;
        joined[i | j] = exprs_.Alt(joined[i | j], exprs_.Concat(first, second));
      }
    }
    return joined;
  }

  Result<Part> Alternatives(size_t depth) {
    if (depth > builder_.limits().max_depth) {
      return Error("groups are nested deeper than {}", builder_.limits().max_depth);
    }
    const bool ignore_case = ignore_case_, dot_all = dot_all_;
    std::array<std::vector<ExprId>, 4> options;
    do {
      LEM_TRY(builder_.CheckLimits());
      LEM_ASSIGN_OR_RETURN(const Part part, Sequence(depth));
      for (size_t i = 0; i < 4; ++i) options[i].push_back(part[i]);
    } while (Take('|'));
    ignore_case_ = ignore_case;
    dot_all_ = dot_all;
    Part joined;
    for (size_t i = 0; i < 4; ++i) joined[i] = exprs_.Alt(std::move(options[i]));
    return joined;
  }

  Result<Part> Sequence(size_t depth) {
    std::vector<Part> parts;
    while (More() && Peek() != '|' && Peek() != ')') {
      LEM_ASSIGN_OR_RETURN(const Part atom, Atom(depth));
      LEM_ASSIGN_OR_RETURN(parts.emplace_back(), Quantified(atom));
      if (parts.size() % 64 == 0) LEM_TRY(builder_.CheckLimits());
    }
    Part joined = Plain(kEpsilon);
    for (size_t i = parts.size(); i-- > 0;) joined = Join(parts[i], joined);
    return joined;
  }

  Result<Part> Quantified(Part part) {
    while (More()) {
      uint32_t min = 0, max = kNoMax;
      const size_t before = at_;
      if (Take('*')) {
      } else if (Take('+')) {
        min = 1;
      } else if (Take('?')) {
        max = 1;
      } else if (Peek() == '{') {
        LEM_ASSIGN_OR_RETURN(const bool counted, Counts(min, max));
        if (!counted) return part;
      } else {
        return part;
      }
      if (Peek() == '+') return Error("possessive quantifiers are not supported; leave out the second '+'");
      Take('?');  // lazy: the same texts match
      const bool anchored = part[1] != kEmpty || part[2] != kEmpty || part[3] != kEmpty;
      if (anchored && max > 1) {
        at_ = before;
        return Error("an anchor inside a repetition is not supported");
      }
      if (anchored) {
        if (min == 0) part[0] = exprs_.Alt(part[0], kEpsilon);
      } else {
        part = Plain(exprs_.Repeat(part[0], min, max));
      }
    }
    return part;
  }

  // {m}, {m,} and {m,n}; false, and nothing taken, if the brace is just a character, as ECMA-262 allows.
  Result<bool> Counts(uint32_t& min, uint32_t& max) {
    size_t at = at_ + 1;
    const auto number = [&]() -> std::optional<uint32_t> {
      uint64_t value = 0;
      const size_t begin = at;
      for (; at < pattern_.size() && pattern_[at] >= '0' && pattern_[at] <= '9'; ++at) {
        value = std::min<uint64_t>(value * 10 + (pattern_[at] - '0'), uint64_t{kMaxCount} + 1);
      }
      return at == begin ? std::nullopt : std::optional(static_cast<uint32_t>(value));
    };
    const std::optional<uint32_t> low = number();
    if (!low) return false;
    std::optional<uint32_t> high = low;
    if (at < pattern_.size() && pattern_[at] == ',') {
      ++at;
      high = number();
    }
    if (at >= pattern_.size() || pattern_[at] != '}') return false;
    if (*low > kMaxCount || (high && *high > kMaxCount)) return Error("a count is over {}", kMaxCount);
    min = *low;
    max = high.value_or(kNoMax);
    if (max < min) return Error("{{{},{}}} has its counts the wrong way round", min, max);
    at_ = at + 1;
    return true;
  }

  Result<Part> Atom(size_t depth) {
    const char32_t c = pattern_[at_++];
    switch (c) {
      case '^':
        return Part{kEmpty, kEmpty, kEpsilon, kEmpty};
      case '$':
        return Part{kEmpty, kEpsilon, kEmpty, kEmpty};
      case '.':
        return Plain(coder_.Encode(dot_all_ ? CodePointSet::All() : AnyButLineEnds()));
      case '(':
        return Group(depth);
      case '[': {
        LEM_ASSIGN_OR_RETURN(const CodePointSet set, Class());
        return OfSet(set);
      }
      case '*':
      case '+':
      case '?':
        --at_;
        return Error("has a '{}' that follows nothing", static_cast<char>(c));
      case '\\':
        return EscapedAtom();
      default:
        return OfSet({{c, c}});
    }
  }

  Result<Part> Group(size_t depth) {
    bool flags_only = false;
    const bool ignore_case = ignore_case_, dot_all = dot_all_;
    if (Take('?')) {
      if (TakeText(U"=") || TakeText(U"!") || TakeText(U"<=") || TakeText(U"<!")) {
        return Error("look-around is not supported; write what may match instead of what may not");
      }
      if (TakeText(U">")) return Error("atomic groups are not supported");
      if (TakeText(U"P<") || TakeText(U"<")) {
        while (More() && Peek() != '>') ++at_;
        if (!Take('>')) return Error("has a group name without its '>'");
      } else if (!TakeText(U":")) {
        LEM_ASSIGN_OR_RETURN(flags_only, Flags());
      }
    }
    if (flags_only) return Plain(kEpsilon);  // they hold to the end of the group around
    LEM_ASSIGN_OR_RETURN(const Part part, Alternatives(depth + 1));
    if (!Take(')')) return Error("has a '(' without its ')'");
    ignore_case_ = ignore_case;
    dot_all_ = dot_all;
    return part;
  }

  // (?i) says true, (?i: false.
  Result<bool> Flags() {
    bool on = true;
    while (More()) {
      const char32_t c = pattern_[at_++];
      if (c == ')') return true;
      if (c == ':') return false;
      if (c == '-') {
        on = false;
      } else if (c == 'i') {
        ignore_case_ = on;
      } else if (c == 's') {
        dot_all_ = on;
      } else if (c != 'u') {
        return Error("a group with the flag '{}' is not supported; supported: i, s, u", Utf8(c));
      }
    }
    return Error("has a '(' without its ')'");
  }

  static std::string Utf8(char32_t c) {
    std::string text;
    AppendUtf8(c, text);
    return text;
  }

  Result<Part> EscapedAtom() {
    if (!More()) return Error("ends with a backslash");
    switch (Peek()) {
      case 'b':
      case 'B':
        return Error("word boundaries (\\{}) are not supported", static_cast<char>(Peek()));
      case 'A':
        ++at_;
        return Part{kEmpty, kEmpty, kEpsilon, kEmpty};
      case 'z':
      case 'Z':
        ++at_;
        return Part{kEmpty, kEpsilon, kEmpty, kEmpty};
      case 'k':
        return Error("back-references are not supported");
      default:
        break;
    }
    if (Peek() >= '1' && Peek() <= '9') return Error("back-references are not supported");
    LEM_ASSIGN_OR_RETURN(const CodePointSet set, Escape());
    return OfSet(set);
  }

  // What stands behind a backslash, in and outside of a class.
  Result<CodePointSet> Escape() {
    const char32_t c = pattern_[at_++];
    const auto one = [](char32_t value) { return CodePointSet{{value, value}}; };
    switch (c) {
      case 'd':
        return DigitClass();
      case 'D':
        return DigitClass().Complement();
      case 'w':
        return WordClass();
      case 'W':
        return WordClass().Complement();
      case 's':
        return WhitespaceClass();
      case 'S':
        return WhitespaceClass().Complement();
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'a':
        return one('\a');
      case 'e':
        return one(0x1B);
      case '0':
        return one(0);
      case 'c': {
        const char32_t letter = Peek() | 0x20;
        if (letter < 'a' || letter > 'z') return Error("\\c is not followed by a letter");
        ++at_;
        return one(letter - 'a' + 1);
      }
      case 'x':
        return HexEscape(2);
      case 'u':
        return HexEscape(4);
      case 'U':
        return HexEscape(8);
      case 'p':
      case 'P':
        return Property(c == 'P');
      default:
        break;
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9')) {
      return Error("the escape \\{} is not supported", static_cast<char>(c));
    }
    return one(c);
  }

  static std::optional<uint32_t> HexDigit(char32_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return std::nullopt;
  }

  Result<CodePointSet> HexEscape(size_t digits) {
    const bool braces = Take('{');
    char32_t value = 0;
    size_t count = 0;
    for (; count < (braces ? 8 : digits) && HexDigit(Peek()); ++count) value = value << 4 | *HexDigit(pattern_[at_++]);
    if (braces ? !Take('}') || count == 0 : count < digits)
      return Error("has an escape of a code point without its digits");
    if (!braces && value >= 0xD800 && value < 0xDC00 && TakeText(U"\\u")) {
      char32_t low = 0;
      for (count = 0; count < 4 && HexDigit(Peek()); ++count) low = low << 4 | *HexDigit(pattern_[at_++]);
      if (count < 4 || low < 0xDC00 || low > 0xDFFF) return Error("has half of a surrogate pair");
      value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    }
    if (value > kMaxCodePoint) return Error("has an escape over U+10FFFF");
    return CodePointSet{{value, value}};
  }

  Result<CodePointSet> Property(bool negated) {
    std::string name;
    if (Take('{')) {
      while (More() && Peek() != '}') AppendUtf8(pattern_[at_++], name);
      if (!Take('}')) return Error("has a \\p{{ without its '}}'");
    } else if (More()) {
      AppendUtf8(pattern_[at_++], name);
    }
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    std::string_view category = name;
    for (const std::string_view prefix : {"General_Category=", "gc="}) {
      if (category.starts_with(prefix)) category.remove_prefix(prefix.size());
    }
    const std::optional<CodePointSet> set = CategoryClass(category);
    if (!set)
      return Error("the property \\p{{{}}} is not supported; supported: general categories such as L or Nd", name);
    return negated ? set->Complement() : *set;
  }

  Result<CodePointSet> Class() {
    const bool negated = Take('^');
    CodePointSet set;
    for (bool first = true;; first = false) {
      if (!More()) return Error("has a '[' without its ']'");
      if (Peek() == ']' && !(first && IsLiteralBracket())) break;
      if (TakeText(U"[:")) {
        std::string name;
        while (More() && Peek() != ':') AppendUtf8(pattern_[at_++], name);
        const std::optional<CodePointSet> posix = PosixClass(name);
        if (!posix || !TakeText(U":]")) return Error("the class [:{}:] is not supported", name);
        set.Add(*posix);
        continue;
      }
      LEM_ASSIGN_OR_RETURN(const CodePointSet low, ClassAtom());
      if (Peek() == '-' && Peek(1) != ']' && at_ + 1 < pattern_.size()) {
        const size_t before = at_++;
        LEM_ASSIGN_OR_RETURN(const CodePointSet high, ClassAtom());
        if (IsOne(low) && IsOne(high)) {
          const char32_t from = low.ranges()[0].low, to = high.ranges()[0].low;
          if (from > to) {
            at_ = before;
            return Error("a range of a class has its ends the wrong way round");
          }
          set.Add(from, to);
          continue;
        }
        // Not a range, such as [\w-.]: a hyphen between two classes.
        set.Add('-', '-');
        set.Add(high);
      }
      set.Add(low);
    }
    ++at_;
    if (ignore_case_) set = IgnoreCase(set);
    return negated ? set.Complement() : set;
  }

  // In Rust and Python "[]a]" has the bracket as its first member; in ECMA-262 "[]" is empty. Only what both say the
  // same is taken: an empty class matches nothing in any case.
  bool IsLiteralBracket() const { return false; }
  static bool IsOne(const CodePointSet& set) {
    return set.ranges().size() == 1 && set.ranges()[0].low == set.ranges()[0].high;
  }

  Result<CodePointSet> ClassAtom() {
    const char32_t c = pattern_[at_++];
    if (c != '\\') return CodePointSet{{c, c}};
    if (!More()) return Error("ends with a backslash");
    if (Take('b')) return CodePointSet{{'\b', '\b'}};
    return Escape();
  }

  GrammarBuilder& builder_;
  ExprSet& exprs_;
  CodePointCoder& coder_;
  std::string_view source_;
  std::u32string pattern_;
  size_t at_ = 0;
  bool ignore_case_ = false, dot_all_ = false;
};

}  // namespace

Result<ExprId> CompileRegex(GrammarBuilder& builder, CodePointCoder& coder, std::string_view pattern,
                            RegexMatch match) {
  std::optional<std::u32string> decoded = DecodeUtf8(pattern);
  if (!decoded) return InvalidArgument("a regular expression is not valid UTF-8");
  LEM_ASSIGN_OR_RETURN(const Part part, RegexParser(builder, coder, pattern, std::move(*decoded)).Parse());
  ExprSet& exprs = builder.exprs();
  std::vector<ExprId> options;
  for (size_t i = 0; i < 4; ++i) {
    const bool search = match == RegexMatch::kSearch;
    const ExprId before = search && (i & kAtStart) == 0 ? coder.AnyText() : kEpsilon;
    const ExprId after = search && (i & kAtEnd) == 0 ? coder.AnyText() : kEpsilon;
    options.push_back(exprs.Concat({before, part[i], after}));
  }
  const ExprId expr = exprs.Alt(std::move(options));
  LEM_TRY(builder.CheckLimits());
  return expr;
}

}  // namespace lem
