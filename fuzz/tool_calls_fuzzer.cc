// Bytes as the answer of a model of each family, cut in two: whatever they are, the parts are those of the whole, calls
// come in order, and the arguments of a call that ended are a JSON object.
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "base/check.h"
#include "base/json.h"
#include "text/detokenizer.h"
#include "text/tool_calls/answer_parser.h"

namespace {

std::map<int32_t, std::string> Calls(lem::ToolFamily family, std::string_view first, std::string_view second) {
  lem::ToolFormat format;
  format.family = family;
  format.reasoning = {"<think>", "</think>"};
  const auto parser = lem::MakeAnswerParser(format, {{"f", "add"}});
  lem::AnswerParts parts = parser->Append(first);
  for (lem::AnswerPart& part : parser->Append(second)) parts.push_back(std::move(part));
  for (lem::AnswerPart& part : parser->Finish(lem::AnswerParser::Ending::kWhole)) parts.push_back(std::move(part));
  std::map<int32_t, std::string> calls;
  for (const lem::AnswerPart& part : parts) {
    if (part.kind == lem::AnswerPart::Kind::kCallArguments) calls[part.call] += part.text;
    if (part.kind != lem::AnswerPart::Kind::kCallEnd) continue;
    const auto json = lem::ParseJson(calls[part.call]);
    LEM_CHECK(json.ok() && json->is_object());
  }
  return calls;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto family = static_cast<lem::ToolFamily>(data[0] % 8);
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (!lem::IsWholeUtf8(text)) return 0;  // the text of an answer always is
  const size_t cut = text.empty() ? 0 : data[1] % text.size();
  LEM_CHECK(Calls(family, text, "") == Calls(family, text.substr(0, cut), text.substr(cut)));
  return 0;
}
