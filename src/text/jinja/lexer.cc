#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "text/jinja/unicode.h"

namespace lem::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// "\r\n" and "\r" become "\n", and one newline at the end goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)), text_(source_) {}

  Result<std::vector<Token>> Run() {
    while (pos_ < text_.size()) LEM_TRY(LexRoot());
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  enum class Sign : uint8_t { kNone, kMinus, kPlus };

  template <typename... Args>
  Status Error(fmt::format_string<Args...> format, Args&&... args) const {
    return InvalidArgument("chat template, line {}: {}", line_, fmt::format(format, std::forward<Args>(args)...));
  }

  void Push(TokenKind kind, std::string_view text) { tokens_.push_back({kind, line_, std::string(text)}); }
  bool At(size_t pos, std::string_view wanted) const {
    return pos <= text_.size() && text_.substr(pos).starts_with(wanted);
  }
  Sign SignAt(size_t pos) const {
    if (pos >= text_.size()) return Sign::kNone;
    return text_[pos] == '-' ? Sign::kMinus : text_[pos] == '+' ? Sign::kPlus : Sign::kNone;
  }
  size_t SkipSpace(size_t pos) const {
    while (pos < text_.size()) {
      const CodePoint c = DecodeAt(text_, pos);
      if (!IsSpace(c.code)) break;
      pos += c.size;
    }
    return pos;
  }
  // Moves to `end`, counting lines.
  void Advance(size_t end) {
    line_ += static_cast<int>(
        std::count(text_.begin() + static_cast<ptrdiff_t>(pos_), text_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    line_starting_ = end > pos_ && text_[end - 1] == '\n';
    pos_ = end;
  }

  // Emits the text before a tag, without the white space that the tag's sign or lstrip_blocks takes away.
  void PushData(size_t end, Sign sign, bool is_variable) {
    std::string_view data = text_.substr(pos_, end - pos_);
    if (sign == Sign::kMinus) {
      while (!data.empty()) {
        const size_t last = PreviousChar(data, data.size());
        if (!IsSpace(DecodeAt(data, last).code)) break;
        data = data.substr(0, last);
      }
    } else if (sign == Sign::kNone && !is_variable) {
      const size_t newline = data.rfind('\n');
      const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
      const bool only_space = SkipSpace(pos_ + line_begin) >= pos_ + data.size();
      if ((line_begin > 0 || line_starting_) && only_space) data = data.substr(0, line_begin);
    }
    if (!data.empty()) Push(TokenKind::kData, data);
  }

  // End of a block or comment tag: "-" strips the space after it, "+" keeps all, else one newline goes (trim_blocks).
  // Returns the position after the tag, nullopt if no tag end is at `pos`.
  std::optional<size_t> TagEnd(size_t pos, std::string_view close) const {
    if (At(pos, "+") && At(pos + 1, close)) return pos + 1 + close.size();
    if (At(pos, "-") && At(pos + 1, close)) return SkipSpace(pos + 1 + close.size());
    if (!At(pos, close)) return std::nullopt;
    pos += close.size();
    return At(pos, "\n") ? pos + 1 : pos;
  }

  Status LexRoot() {
    size_t tag = pos_;
    for (;; ++tag) {
      tag = text_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= text_.size()) {
        Push(TokenKind::kData, text_.substr(pos_));
        pos_ = text_.size();
        return OkStatus();
      }
      if (text_[tag + 1] == '{' || text_[tag + 1] == '%' || text_[tag + 1] == '#') break;
    }
    const char type = text_[tag + 1];
    const Sign sign = SignAt(tag + 2);
    const size_t inside = tag + 2 + (sign == Sign::kNone ? 0 : 1);
    PushData(tag, sign, type == '{');
    Advance(tag);
    if (type == '#') return LexComment(inside);
    if (type == '%') {
      if (const auto raw = RawBegin(inside)) return LexRaw(*raw);
    }
    return LexTag(inside, type == '%');
  }

  Status LexComment(size_t inside) {
    if (inside == text_.size()) {  // Jinja complains only of text in an open comment
      Advance(inside);
      return OkStatus();
    }
    for (size_t pos = inside;; ++pos) {
      pos = text_.find("#}", pos);
      if (pos == std::string_view::npos) return Error("a comment {{# is not closed by #}}");
      const bool has_sign = pos > inside && SignAt(pos - 1) != Sign::kNone;
      if (const auto end = TagEnd(has_sign ? pos - 1 : pos, "#}")) {
        Advance(*end);
        return OkStatus();
      }
    }
  }

  // Position after "{% raw %}" whose inside starts here; nullopt if it is another tag.
  std::optional<size_t> RawBegin(size_t inside) const {
    size_t pos = SkipSpace(inside);
    if (!At(pos, "raw")) return std::nullopt;
    pos = SkipSpace(pos + 3);
    if (At(pos, "-%}")) return SkipSpace(pos + 3);
    if (At(pos, "%}")) return pos + 2;
    return std::nullopt;
  }

  Status LexRaw(size_t begin) {
    Advance(begin);
    for (size_t tag = begin;; ++tag) {
      tag = text_.find("{%", tag);
      if (tag == std::string_view::npos) return Error("{{% raw %}} is not closed by {{% endraw %}}");
      const Sign sign = SignAt(tag + 2);
      size_t pos = SkipSpace(tag + 2 + (sign == Sign::kNone ? 0 : 1));
      if (!At(pos, "endraw")) continue;
      pos = SkipSpace(pos + 6);
      const auto end = TagEnd(pos, "%}");
      if (!end) continue;
      PushData(tag, sign, false);
      Advance(*end);
      return OkStatus();
    }
  }

  Status LexTag(size_t inside, bool is_block) {
    Push(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    Advance(inside);
    open_brackets_.clear();
    while (pos_ < text_.size()) {
      if (open_brackets_.empty()) {
        const auto end = is_block ? TagEnd(pos_, "%}") : VariableEnd();
        if (end) {
          Push(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
          Advance(*end);
          return OkStatus();
        }
      }
      const size_t space_end = SkipSpace(pos_);
      if (space_end > pos_) {
        Advance(space_end);
      } else {
        LEM_TRY(LexToken());
      }
    }
    // The parser says which tag is open.
    return OkStatus();
  }

  std::optional<size_t> VariableEnd() const {
    if (At(pos_, "-}}")) return SkipSpace(pos_ + 3);
    if (At(pos_, "}}")) return pos_ + 2;
    return std::nullopt;
  }

  Status LexToken() {
    const char c = text_[pos_];
    if (IsDigit(c)) return LexNumber();
    if (c == '\'' || c == '"') return LexString();
    const CodePoint point = DecodeAt(text_, pos_);
    if (IsWordChar(point.code)) {
      size_t end = pos_;
      while (end < text_.size()) {
        const CodePoint next = DecodeAt(text_, end);
        if (!IsWordChar(next.code)) break;
        end += next.size;
      }
      Push(TokenKind::kName, text_.substr(pos_, end - pos_));
      pos_ = end;
      return OkStatus();
    }
    return LexOperator();
  }

  // Digits with single underscores between them, from `pos`; returns the end.
  template <typename IsDigitOfBase>
  size_t Digits(size_t pos, IsDigitOfBase is_digit) const {
    while (pos < text_.size()) {
      if (is_digit(text_[pos])) {
        ++pos;
      } else if (text_[pos] == '_' && pos + 1 < text_.size() && is_digit(text_[pos + 1])) {
        pos += 2;
      } else {
        break;
      }
    }
    return pos;
  }

  Status LexNumber() {
    const size_t whole = Digits(pos_, IsDigit);
    size_t end = whole;
    bool is_float = false;
    const bool after_dot = pos_ > 0 && text_[pos_ - 1] == '.';
    if (!after_dot) {
      if (At(end, ".") && end + 1 < text_.size() && IsDigit(text_[end + 1])) {
        end = Digits(end + 1, IsDigit);
        is_float = true;
      }
      if (At(end, "e") || At(end, "E")) {
        const size_t digits = end + 1 + (SignAt(end + 1) == Sign::kNone ? 0 : 1);
        if (digits < text_.size() && IsDigit(text_[digits])) {
          end = Digits(digits, IsDigit);
          is_float = true;
        }
      }
    }
    if (!is_float) end = IntegerEnd(whole);
    std::string digits(text_.substr(pos_, end - pos_));
    std::erase(digits, '_');
    Push(is_float ? TokenKind::kFloat : TokenKind::kInteger, digits);
    pos_ = end;
    return OkStatus();
  }

  // 0b101, 0o17, 0xff, 12 or 0; a 0 before other digits stands alone, as in Python.
  size_t IntegerEnd(size_t decimal_end) const {
    if (text_[pos_] != '0') return decimal_end;
    const char base = pos_ + 1 < text_.size() ? static_cast<char>(text_[pos_ + 1] | 0x20) : ' ';
    const auto with_prefix = [&](auto is_digit) {
      size_t first = pos_ + 2;
      if (At(first, "_")) ++first;
      return first < text_.size() && is_digit(text_[first]) ? Digits(first, is_digit) : pos_ + 1;
    };
    if (base == 'b') return with_prefix([](char c) { return c == '0' || c == '1'; });
    if (base == 'o') return with_prefix([](char c) { return c >= '0' && c <= '7'; });
    if (base == 'x') {
      return with_prefix([](char c) { return IsDigit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); });
    }
    return Digits(pos_, [](char c) { return c == '0'; });
  }

  Status LexString() {
    const char quote = text_[pos_];
    size_t end = pos_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return Error("a string that starts with {} is not closed", quote);
    LEM_ASSIGN_OR_RETURN(std::string value, Unescape(text_.substr(pos_ + 1, end - pos_ - 1)));
    Push(TokenKind::kString, value);
    Advance(end + 1);
    return OkStatus();
  }

  Result<std::string> Unescape(std::string_view in) const {
    std::string out;
    for (size_t i = 0; i < in.size(); ++i) {
      if (in[i] != '\\' || i + 1 >= in.size()) {
        out += in[i];
        continue;
      }
      const char c = in[++i];
      static constexpr std::string_view kFrom = "\\'\"abfnrtv";
      static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t simple = kFrom.find(c); simple != std::string_view::npos) {
        out += kTo[simple];
      } else if (c == '\n') {
        // A backslash at the end of a line joins it with the next.
      } else if (c >= '0' && c <= '7') {
        char32_t code = 0;
        size_t end = i;
        while (end < in.size() && end < i + 3 && in[end] >= '0' && in[end] <= '7') {
          code = code * 8 + static_cast<char32_t>(in[end++] - '0');
        }
        AppendChar(out, code);
        i = end - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        LEM_ASSIGN_OR_RETURN(char32_t code, HexEscape(in, i + 1, digits));
        i += digits;
        // Two \u escapes may name one character as a pair of surrogates.
        if (code >= 0xd800 && code <= 0xdbff && in.substr(i + 1).starts_with("\\u")) {
          LEM_ASSIGN_OR_RETURN(const char32_t low, HexEscape(in, i + 3, 4));
          if (low >= 0xdc00 && low <= 0xdfff) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            i += 6;
          }
        }
        AppendChar(out, code);
      } else if (c == 'N') {
        return Error("\\N{{name}} in a string is not supported; write the character itself");
      } else {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  Result<char32_t> HexEscape(std::string_view in, size_t pos, size_t digits) const {
    char32_t code = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = pos + i < in.size() ? in[pos + i] : '\0';
      const char lower = static_cast<char>(c | 0x20);
      if (IsDigit(c)) {
        code = code * 16 + static_cast<char32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        code = code * 16 + static_cast<char32_t>(lower - 'a' + 10);
      } else {
        return Error("an escape in a string needs {} hexadecimal digits", digits);
      }
    }
    if (code > 0x10ffff) return Error("an escape in a string is above the last character U+10FFFF");
    return code;
  }

  Status LexOperator() {
    static constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const std::string_view op : kOperators) {
      if (!At(pos_, op)) continue;
      LEM_TRY(Balance(op[0]));
      Push(TokenKind::kOperator, op);
      pos_ += op.size();
      return OkStatus();
    }
    return Error("unexpected character '{}'", text_.substr(pos_, DecodeAt(text_, pos_).size));
  }

  // Inside open brackets "}}" and "%}" are operators: {{ {'a': {}} }}.
  Status Balance(char c) {
    if (c == '(' || c == '[' || c == '{') {
      open_brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open_brackets_.empty()) return Error("unexpected '{}'", c);
      if (open_brackets_.back() != c) return Error("unexpected '{}', expected '{}'", c, open_brackets_.back());
      open_brackets_.pop_back();
    }
    return OkStatus();
  }

  std::string source_;
  std::string_view text_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the tag before ended with a newline, or there is none
  std::string open_brackets_;  // the closing brackets that are awaited
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace lem::jinja
