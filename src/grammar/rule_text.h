// Reading grammar texts (GBNF, Lark): a place in the text, literals, counts. Not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "grammar/code_points.h"

namespace lem {

class RuleText {
 public:
  // `language` is for messages.
  RuleText(std::string_view language, std::u32string text) : language_(language), text_(std::move(text)) {}

  bool More() const { return at_ < text_.size(); }
  char32_t Peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0; }
  char32_t Next() { return text_[at_++]; }
  bool Take(std::u32string_view expected) {
    if (text_.compare(at_, expected.size(), expected) != 0) return false;
    at_ += expected.size();
    return true;
  }
  size_t place() const { return at_; }
  void GoTo(size_t place) { at_ = place; }
  std::u32string_view text() const { return text_; }

  template <typename... Args>
  Status Error(fmt::format_string<Args...> format, Args&&... args) const {
    return InvalidArgument("{} grammar, line {}: {}", language_, Line(),
                           fmt::format(format, std::forward<Args>(args)...));
  }
  // Blanks and comments that begin with `comment`; line breaks too if `lines`.
  void SkipSpace(std::u32string_view comment, bool lines);
  // Letters, digits, '_' and '-'; empty if there is none.
  std::string TakeName();
  // Up to the closing quote; the opening one was taken.
  Result<std::u32string> TakeString();
  // A class of characters up to its ']'; the '[' was taken.
  Result<CodePointSet> TakeClass();
  // Digits. Nothing if there are none.
  std::optional<uint32_t> TakeNumber();
  // *, +, ?, {m}, {m,} or {m,n}: how often what stands before may come. Nothing if none of them stands here.
  Result<std::optional<std::pair<uint32_t, uint32_t>>> TakeRepetition();
  // <[123]>: the number of a token; the '<' was taken.
  Result<TokenId> TakeToken();

 private:
  size_t Line() const;
  Result<char32_t> TakeEscape();
  // m}, m,} and m,n}; the '{' was taken. The second is kNoMax where it is open.
  Result<std::pair<uint32_t, uint32_t>> TakeCounts();
  std::string_view language_;
  std::u32string text_;
  size_t at_ = 0;
};

}  // namespace lem
