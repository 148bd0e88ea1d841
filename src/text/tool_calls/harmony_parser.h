// The parser of gpt-oss's Harmony format: messages in channels. "analysis" is reasoning, "final" is the answer,
// "commentary" with a recipient is a call. Not thread-safe.
#pragma once

#include <optional>
#include <string>

#include "text/tool_calls/answer_parser.h"
#include "text/tool_calls/call_reader.h"

namespace lem {

class HarmonyParser final : public AnswerParser {
 public:
  explicit HarmonyParser(AnswerParserOptions options) : options_(std::move(options)), sink_(options_) {}

  AnswerParts Append(std::string_view text) override;
  bool in_call() const override { return body_ == Body::kArguments; }
  AnswerParts Finish(Ending ending) override;

 private:
  enum class Body { kNone, kText, kReasoning, kArguments };

  bool Step(bool at_end, AnswerParts& out);
  void BeginBody(std::string_view header);
  void GiveBody(std::string_view text, AnswerParts& out);
  void EndBody(bool complete, AnswerParts& out);

  const AnswerParserOptions options_;
  CallSink sink_;
  Body body_ = Body::kNone;  // kNone: in a header
  bool in_header_ = true;
  std::string text_;  // not yet understood
  std::string raw_;   // of arguments that have not been taken
  std::optional<CallReader> reader_;
};

}  // namespace lem
