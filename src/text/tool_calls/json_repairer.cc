#include "text/tool_calls/json_repairer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json.h"

namespace lem {
namespace {

constexpr size_t kMaxWordBytes = 512;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsWordByte(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '+' || c == '-' ||
         c == '.' || c == '$';
}

// A literal or number as JSON has it; empty if it is neither.
std::string StrictWord(std::string_view word) {
  struct Literal {
    std::string_view written, json;
  };
  static constexpr std::array<Literal, 12> kLiterals = {{{"true", "true"},
                                                         {"false", "false"},
                                                         {"null", "null"},
                                                         {"True", "true"},
                                                         {"False", "false"},
                                                         {"None", "null"},
                                                         {"TRUE", "true"},
                                                         {"FALSE", "false"},
                                                         {"NULL", "null"},
                                                         {"undefined", "null"},
                                                         {"nil", "null"},
                                                         {"NaN", "null"}}};
  const auto* found = std::ranges::find(kLiterals, word, &Literal::written);
  if (found != kLiterals.end()) return std::string(found->json);
  std::string number(word);
  if (number.starts_with('+')) number.erase(0, 1);
  const size_t first = number.starts_with('-') ? 1 : 0;
  if (number.size() > first && number[first] == '.') number.insert(first, "0");
  if (number.ends_with('.')) number += '0';
  while (number.size() > first + 1 && number[first] == '0' && IsDigit(number[first + 1])) number.erase(first, 1);
  return number.size() > first && IsDigit(number[first]) && ParseJson(number).ok() ? number : std::string();
}

}  // namespace

size_t JsonRepairer::Append(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (failed_ || done()) return i;
    if (Take(text[i], out)) continue;
    failed_ = !done();
    return i;
  }
  return text.size();
}

bool JsonRepairer::Take(char c, std::string& out) {
  if (state_ == State::kWord) {
    if (IsWordByte(c)) {
      word_ += c;
      return word_.size() <= kMaxWordBytes;
    }
    if (!EndWord(out) || done()) return false;
  }
  switch (state_) {
    case State::kString:
      TakeStringByte(c, out);
      return true;
    case State::kEscape:
    case State::kHex:
      TakeEscape(c, out);
      return true;
    default:
      break;
  }
  if (IsSpace(c)) {
    (pending_.empty() ? out : pending_) += c;
    return true;
  }
  switch (state_) {
    case State::kKey:
      return TakeKey(c, out);
    case State::kColon:
      return TakeColon(c, out);
    case State::kAfterValue:
      return TakeAfterValue(c, out);
    default:
      return TakeValue(c, out);
  }
}

void JsonRepairer::GivePending(std::string& out) {
  out += pending_;
  pending_.clear();
}

bool JsonRepairer::TakeKey(char c, std::string& out) {
  if (c == '}' || c == ']') return Close(c, out);
  if (c == ',') return repaired_ = true;
  is_key_ = true;
  if (c == '"' || c == '\'') {
    GivePending(out);
    BeginString(c, out);
    return true;
  }
  if (!IsWordByte(c)) return false;
  word_ = c;
  state_ = State::kWord;
  return true;
}

bool JsonRepairer::TakeColon(char c, std::string& out) {
  if (c == ':') {
    out += c;
    state_ = State::kValue;
    return true;
  }
  if (c != '}' && c != ',') return false;
  repaired_ = true;  // a key without a value
  out += ":null";
  state_ = State::kAfterValue;
  return TakeAfterValue(c, out);
}

bool JsonRepairer::TakeValue(char c, std::string& out) {
  if (c == '{' || c == '[') return Open(c, out);
  is_key_ = false;
  if (c == '"' || c == '\'') {
    GivePending(out);
    BeginString(c, out);
    return true;
  }
  if (IsWordByte(c)) {
    word_ = c;
    state_ = State::kWord;
    return true;
  }
  if (open_.empty() || (c != '}' && c != ']' && c != ',')) return false;
  if (in_object()) {  // a key and a colon, and nothing
    repaired_ = true;
    out += "null";
    state_ = State::kAfterValue;
    return TakeAfterValue(c, out);
  }
  if (c == ',') return repaired_ = true;
  return Close(c, out);
}

bool JsonRepairer::TakeAfterValue(char c, std::string& out) {
  if (c == '}' || c == ']') return Close(c, out);
  if (c == ',') {
    pending_ = ",";
    state_ = in_object() ? State::kKey : State::kValue;
    return true;
  }
  const bool begins_value = c == '"' || c == '\'' || IsWordByte(c) || (!in_object() && (c == '{' || c == '['));
  if (!begins_value) return false;
  repaired_ = true;  // a comma is missing
  pending_ = ",";
  state_ = in_object() ? State::kKey : State::kValue;
  return in_object() ? TakeKey(c, out) : TakeValue(c, out);
}

bool JsonRepairer::Open(char c, std::string& out) {
  if (open_.size() >= kMaxDepth) return false;
  GivePending(out);
  out += c;
  open_ += c;
  state_ = c == '{' ? State::kKey : State::kValue;
  return true;
}

// Closes the brackets inside, too, if they were forgotten.
bool JsonRepairer::Close(char c, std::string& out) {
  const char wanted = c == '}' ? '{' : '[';
  const size_t found = open_.rfind(wanted);
  if (found == std::string::npos) return false;
  if (!pending_.empty()) {
    out += std::string_view(pending_).substr(1);
    pending_.clear();
    repaired_ = true;
  }
  for (; open_.size() > found + 1; repaired_ = true) CloseTop(out);
  CloseTop(out);
  EndValue();
  return true;
}

void JsonRepairer::CloseTop(std::string& out) {
  out += open_.back() == '{' ? '}' : ']';
  open_.pop_back();
}

void JsonRepairer::BeginString(char quote, std::string& out) {
  quote_ = quote;
  if (quote == '\'') repaired_ = true;
  out += '"';
  state_ = State::kString;
}

void JsonRepairer::EndString(std::string& out) {
  out += '"';
  if (is_key_) {
    state_ = State::kColon;
  } else {
    EndValue();
  }
}

// Half of a code point that was written as two escapes, whose other half did not come.
void JsonRepairer::DropHalf(std::string& out) {
  if (high_half_.empty()) return;
  repaired_ = true;
  out += "\\ufffd";
  high_half_.clear();
}

void JsonRepairer::TakeHex(std::string& out) {
  const bool is_half = (hex_[0] == 'd' || hex_[0] == 'D') && hex_[1] >= '8';
  const bool is_high = is_half && (hex_[1] == '8' || hex_[1] == '9' || hex_[1] == 'a' || hex_[1] == 'b' ||
                                   hex_[1] == 'A' || hex_[1] == 'B');
  if (is_half && !is_high && !high_half_.empty()) {
    out += "\\u" + high_half_ + "\\u" + hex_;
    high_half_.clear();
  } else {
    DropHalf(out);
    if (is_half) {
      high_half_ = hex_;
      if (!is_high) DropHalf(out);
    } else {
      out += "\\u" + hex_;
    }
  }
  hex_.clear();
}

void JsonRepairer::TakeStringByte(char c, std::string& out) {
  if (c != '\\') DropHalf(out);
  if (c == quote_) return EndString(out);
  if (c == '\\') {
    state_ = State::kEscape;
  } else if (static_cast<unsigned char>(c) < 0x20) {
    repaired_ = true;
    out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : fmt::format("\\u{:04x}", static_cast<int>(c));
  } else {
    if (c == '"') out += '\\';
    out += c;
  }
}

void JsonRepairer::TakeEscape(char c, std::string& out) {
  if (state_ == State::kHex) {
    if (IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
      hex_ += c;
      if (hex_.size() < 4) return;
      TakeHex(out);
      state_ = State::kString;
      return;
    }
    DropHalf(out);
    repaired_ = true;  // not an escape after all
    out += "\\\\u" + hex_;
    hex_.clear();
    state_ = State::kString;
    return TakeStringByte(c, out);
  }
  state_ = State::kString;
  if (c != 'u') DropHalf(out);
  if (std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos) {
    out += '\\';
    out += c;
  } else if (c == 'u') {
    state_ = State::kHex;
  } else if (c == '\'') {
    repaired_ = true;
    out += c;
  } else {
    repaired_ = true;
    out += "\\\\";
    TakeStringByte(c, out);
  }
}

bool JsonRepairer::EndWord(std::string& out) {
  std::string strict = is_key_ ? JsonQuote(word_) : StrictWord(word_);
  if (strict.empty()) return false;
  if (strict != word_) repaired_ = true;
  word_.clear();
  GivePending(out);
  out += strict;
  if (is_key_) {
    state_ = State::kColon;
  } else {
    EndValue();
  }
  return true;
}

void JsonRepairer::EndValue() { state_ = open_.empty() ? State::kDone : State::kAfterValue; }

void JsonRepairer::Finish(std::string& out) {
  if (done()) return;
  if (state_ == State::kWord && !EndWord(out)) {
    // A word that is neither number nor literal: cut off, or never a value.
    GivePending(out);
    out += "null";
    EndValue();
  }
  if (done()) return;
  repaired_ = true;
  DropHalf(out);
  if (state_ == State::kHex) {
    out += "\\\\u" + hex_;
    EndString(out);
  } else if (state_ == State::kEscape) {
    out += "\\\\";
    EndString(out);
  } else if (state_ == State::kString) {
    EndString(out);
  }
  if (state_ == State::kColon) out += ":null";
  if (state_ == State::kValue && (open_.empty() || in_object())) out += "null";
  pending_.clear();
  while (!open_.empty()) CloseTop(out);
  state_ = State::kDone;
}

}  // namespace lem
