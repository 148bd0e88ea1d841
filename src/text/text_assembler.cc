#include "text/text_assembler.h"

#include <algorithm>

namespace lem {

TextAssembler::TextAssembler(const Tokenizer& tokenizer, std::vector<std::string> stop_strings, bool at_text_start,
                             std::vector<TokenId> visible)
    : tokenizer_(&tokenizer),
      detokenizer_(tokenizer, SpecialTokens::kAsText, at_text_start),
      visible_(std::move(visible)) {
  SetStopStrings(std::move(stop_strings));
}

void TextAssembler::SetStopStrings(std::vector<std::string> stop_strings) {
  stop_strings_ = std::move(stop_strings);
  std::erase(stop_strings_, "");
}

std::string TextAssembler::Append(TokenId id) {
  if (stopped_) return "";
  if (std::ranges::find(visible_, id) != visible_.end()) {
    held_ += detokenizer_.Finish() + tokenizer_->TokenText(id, SpecialTokens::kParse);
  } else {
    held_ += detokenizer_.Append(id);
  }
  return Release(/*at_end=*/false);
}

std::string TextAssembler::Finish() {
  if (stopped_) return "";
  held_ += detokenizer_.Finish();
  return Release(/*at_end=*/true);
}

std::string TextAssembler::Release(bool at_end) {
  size_t first = std::string::npos;
  for (const std::string& stop : stop_strings_) {
    const size_t found = held_.find(stop);
    if (found < first) {
      first = found;
      stop_string_ = stop;
    }
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string text = held_.substr(0, first);
    held_.clear();
    return text;
  }
  // Keep the longest tail that is the beginning of a stop string.
  size_t keep = 0;
  for (const std::string& stop : stop_strings_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > keep; --length) {
      if (held_.ends_with(std::string_view(stop).substr(0, length))) {
        keep = length;
        break;
      }
    }
  }
  if (at_end) keep = 0;
  std::string text = held_.substr(0, held_.size() - keep);
  held_.erase(0, text.size());
  return text;
}

}  // namespace lem
