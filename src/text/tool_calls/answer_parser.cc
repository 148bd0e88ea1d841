#include "text/tool_calls/answer_parser.h"

#include <utility>

#include "text/tool_calls/harmony_parser.h"
#include "text/tool_calls/marked_parser.h"

namespace lem {

std::unique_ptr<AnswerParser> MakeAnswerParser(const ToolFormat& format, AnswerParserOptions options) {
  if (format.family == ToolFamily::kHarmony) return std::make_unique<HarmonyParser>(std::move(options));
  return std::make_unique<MarkedParser>(format, std::move(options));
}

}  // namespace lem
