// Assembles the text of an answer from its tokens: whole code points only, cut at the first stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/detokenizer.h"

namespace lem {

// Text that could be the beginning of a stop string is held back until it is decided. Not thread-safe. The tokenizer
// must outlive it.
class TextAssembler {
 public:
  // Empty stop strings are ignored. at_text_start: see StreamingDetokenizer. `visible`: control tokens whose names
  // show.
  TextAssembler(const Tokenizer& tokenizer, std::vector<std::string> stop_strings, bool at_text_start,
                std::vector<TokenId> visible = {});

  // From the next token on.
  void SetStopStrings(std::vector<std::string> stop_strings);

  // The text that has become certain by this token. After stopped() it is always empty.
  std::string Append(TokenId id);
  // What was held back; to be called when the tokens end.
  std::string Finish();

  // True once a stop string has been found; it and everything after it are not part of the text.
  bool stopped() const { return stopped_; }
  // Which one was found; empty before stopped().
  const std::string& stop_string() const { return stop_string_; }

 private:
  std::string Release(bool at_end);

  const Tokenizer* tokenizer_;
  StreamingDetokenizer detokenizer_;
  std::vector<TokenId> visible_;
  std::vector<std::string> stop_strings_;
  std::string held_;  // text not given out yet
  std::string stop_string_;
  bool stopped_ = false;
};

}  // namespace lem
