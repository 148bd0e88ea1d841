#include "grammar/rule_text.h"

#include <algorithm>

namespace lem {

size_t RuleText::Line() const {
  const auto end = text_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, text_.size()));
  return 1 + static_cast<size_t>(std::count(text_.begin(), end, U'\n'));
}

void RuleText::SkipSpace(std::u32string_view comment, bool lines) {
  while (More()) {
    if (text_.compare(at_, comment.size(), comment) == 0) {
      while (More() && Peek() != '\n') ++at_;
    } else if (Peek() == ' ' || Peek() == '\t' || (lines && (Peek() == '\n' || Peek() == '\r')) ||
               (Peek() == '\r' && Peek(1) == '\n')) {
      ++at_;
    } else {
      return;
    }
  }
}

std::string RuleText::TakeName() {
  std::string name;
  const auto belongs = [](char32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  while (More() && belongs(Peek())) name.push_back(static_cast<char>(Next()));
  return name;
}

Result<char32_t> RuleText::TakeEscape() {
  if (!More()) return Error("ends with a backslash");
  const char32_t c = Next();
  size_t digits = 0;
  switch (c) {
    case 'n':
      return U'\n';
    case 'r':
      return U'\r';
    case 't':
      return U'\t';
    case 'f':
      return U'\f';
    case 'b':
      return U'\b';
    case 'x':
      digits = 2;
      break;
    case 'u':
      digits = 4;
      break;
    case 'U':
      digits = 8;
      break;
    default:
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
        return Error("the escape \\{} is none", static_cast<char>(c));
      }
      return c;
  }
  char32_t value = 0;
  for (size_t i = 0; i < digits; ++i) {
    const char32_t digit = Peek() >= 'A' && Peek() <= 'F' ? Peek() + 32 : Peek();
    if (!((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f'))) {
      return Error("an escape needs {} hexadecimal digits", digits);
    }
    value = value << 4 | (digit <= '9' ? digit - '0' : digit - 'a' + 10);
    ++at_;
  }
  if (value > kMaxCodePoint || (value >= 0xD800 && value < 0xE000)) return Error("an escape is no character");
  return value;
}

Result<std::u32string> RuleText::TakeString() {
  std::u32string text;
  while (true) {
    if (!More() || Peek() == '\n') return Error("a string has no closing quote");
    const char32_t c = Next();
    if (c == '"') return text;
    if (c != '\\') {
      text.push_back(c);
      continue;
    }
    LEM_ASSIGN_OR_RETURN(const char32_t escaped, TakeEscape());
    text.push_back(escaped);
  }
}

Result<CodePointSet> RuleText::TakeClass() {
  const bool negated = Take(U"^");
  CodePointSet set;
  const auto one = [&]() -> Result<char32_t> {
    if (!More() || Peek() == '\n') return Error("a '[' has no ']'");
    const char32_t c = Next();
    return c == '\\' ? TakeEscape() : Result<char32_t>(c);
  };
  while (Peek() != ']') {
    LEM_ASSIGN_OR_RETURN(const char32_t low, one());
    char32_t high = low;
    if (Peek() == '-' && Peek(1) != ']') {
      ++at_;
      LEM_ASSIGN_OR_RETURN(high, one());
    }
    if (high < low) return Error("a range of a class has its ends the wrong way round");
    set.Add(low, high);
  }
  ++at_;
  return negated ? set.Complement() : set;
}

std::optional<uint32_t> RuleText::TakeNumber() {
  constexpr uint64_t kMost = 1'000'000'000;
  std::optional<uint64_t> value;
  for (; Peek() >= '0' && Peek() <= '9'; ++at_)
    value = std::min<uint64_t>(value.value_or(0) * 10 + (Peek() - '0'), kMost);
  return value ? std::optional(static_cast<uint32_t>(*value)) : std::nullopt;
}

Result<std::pair<uint32_t, uint32_t>> RuleText::TakeCounts() {
  constexpr uint32_t kMaxCount = 1'000'000;
  const std::optional<uint32_t> min = TakeNumber();
  std::optional<uint32_t> max = min;
  if (Take(U",")) max = TakeNumber().value_or(kNoMax);
  if ((!min && !max) || !Take(U"}")) return Error("a repetition has to be {{m}}, {{m,}} or {{m,n}}");
  const uint32_t least = min.value_or(0);
  if (*max < least) return Error("{{{},{}}} has its counts the wrong way round", least, *max);
  if (least > kMaxCount || (*max != kNoMax && *max > kMaxCount)) return Error("a count is over {}", kMaxCount);
  return std::pair(least, *max);
}

Result<std::optional<std::pair<uint32_t, uint32_t>>> RuleText::TakeRepetition() {
  using Counts = std::optional<std::pair<uint32_t, uint32_t>>;
  if (Take(U"*")) return Counts({0, kNoMax});
  if (Take(U"+")) return Counts({1, kNoMax});
  if (Take(U"?")) return Counts({0, 1});
  if (!Take(U"{")) return Counts();
  LEM_ASSIGN_OR_RETURN(const auto counts, TakeCounts());
  return Counts(counts);
}

Result<TokenId> RuleText::TakeToken() {
  if (!Take(U"[")) return Error("tokens by name are not supported; write <[id]>");
  const std::optional<uint32_t> id = TakeNumber();
  if (!id || !Take(U"]>")) return Error("a token has to be <[id]>");
  return static_cast<TokenId>(*id);
}

}  // namespace lem
