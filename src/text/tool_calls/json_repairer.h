// Reads JSON as language models write it and writes strict JSON, byte by byte as it comes.
//
// Repaired on the way: missing brackets at the end or before an outer one, trailing, doubled and missing commas,
// Python's literals, single quotes, keys without quotes, raw control characters and unknown escapes in strings, numbers
// such as
// "+1" and ".5". Valid JSON passes unchanged. What was written is at any time the beginning of a JSON value. Not
// thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lem {

class JsonRepairer {
 public:
  static constexpr size_t kMaxDepth = 128;

  // Appends to `out` what is certain by now. Returns how many bytes were taken: fewer than there are only when the
  // value is complete, or when failed() at a byte that cannot stand there. Control characters of `text` count as bytes;
  // UTF-8 passes as it is.
  size_t Append(std::string_view text, std::string& out);
  // The text ends here: closes what is open, so that `out` is a whole value (null if none had begun).
  void Finish(std::string& out);

  bool done() const { return state_ == State::kDone; }
  bool failed() const { return failed_; }
  bool repaired() const { return repaired_; }
  bool in_string() const { return state_ == State::kString || state_ == State::kEscape || state_ == State::kHex; }

 private:
  enum class State { kValue, kAfterValue, kKey, kColon, kString, kEscape, kHex, kWord, kDone };

  // False: `c` does not belong to the value or cannot stand there.
  bool Take(char c, std::string& out);
  bool TakeKey(char c, std::string& out);
  bool TakeValue(char c, std::string& out);
  bool TakeAfterValue(char c, std::string& out);
  bool TakeColon(char c, std::string& out);
  void TakeStringByte(char c, std::string& out);
  void TakeEscape(char c, std::string& out);
  void TakeHex(std::string& out);
  void DropHalf(std::string& out);
  bool Open(char c, std::string& out);
  bool Close(char c, std::string& out);
  void CloseTop(std::string& out);
  void BeginString(char quote, std::string& out);
  void EndString(std::string& out);
  bool EndWord(std::string& out);
  void EndValue();
  void GivePending(std::string& out);
  bool in_object() const { return !open_.empty() && open_.back() == '{'; }

  State state_ = State::kValue;
  std::string open_;       // brackets, outermost first
  std::string pending_;    // a comma and what white space follows it: dropped before a closing bracket
  std::string word_;       // number, literal or bare key
  std::string hex_;        // digits of \u
  std::string high_half_;  // digits of the first of two escapes that make one code point
  char quote_ = '"';
  bool is_key_ = false;  // the string or word is a key
  bool failed_ = false, repaired_ = false;
};

}  // namespace lem
