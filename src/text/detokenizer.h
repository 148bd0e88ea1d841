// Turns a stream of token ids into text that is always whole UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace lem {

// True if it is valid UTF-8 and does not end inside a code point.
bool IsWholeUtf8(std::string_view text);

// Feeds tokens one by one and returns the text that is certain so far. Bytes that may be the beginning of a code point
// are held back until it is complete; bytes that can never become one are given out as U+FFFD. Not thread-safe.
class StreamingDetokenizer {
 public:
  // The tokenizer must outlive this object. at_text_start: the stream begins a text, so the leading space that
  // SentencePiece models put there is dropped (false for a completion that continues a prompt).
  StreamingDetokenizer(const Tokenizer& tokenizer, SpecialTokens special, bool at_text_start);

  std::string Append(TokenId id);
  // What is still held back, as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  SpecialTokens special_;
  bool drop_leading_space_;
  std::string pending_;  // at most 3 bytes: an unfinished code point
};

}  // namespace lem
