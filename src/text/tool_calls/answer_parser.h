// Takes the text of an answer apart while it comes: reasoning, text for the reader, and tool calls in the form of the
// model's family.
//
// Nothing is an error: what looks like a call and is none is text, with a note that says why; a call that was written
// badly is repaired, with a note. Arguments are at any time the beginning of one JSON object, and a whole one when the
// call ends. Text and fragments consist of whole code points if what is fed does. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tool_calls/tool_format.h"

namespace lem {

struct AnswerPart {
  enum class Kind {
    kText,
    kReasoning,
    kCallBegin,      // text: the function's name
    kCallArguments,  // text: a piece of the arguments' JSON
    kCallEnd,
    kNote,  // text: what was wrong with a call, for people
  };
  Kind kind = Kind::kText;
  int32_t call = 0;  // index of the call
  std::string text;

  friend bool operator==(const AnswerPart&, const AnswerPart&) = default;
};
using AnswerParts = std::vector<AnswerPart>;

struct AnswerParserOptions {
  // Names of the tools of the request; empty = none, and then nothing is taken for a call.
  std::vector<std::string> tools;
  int32_t max_calls = 128;           // what comes after them is dropped with a note
  bool starts_in_reasoning = false;  // the prompt ends with the opening tag
};

class AnswerParser {
 public:
  virtual ~AnswerParser() = default;
  // The next piece of the answer.
  virtual AnswerParts Append(std::string_view text) = 0;
  // What comes next belongs to a call, or to what may turn out to be one.
  virtual bool in_call() const = 0;
  // The answer is over. cut_off: it did not end by itself (a limit), so a call that has begun stays unfinished.
  enum class Ending { kWhole, kCutOff };
  virtual AnswerParts Finish(Ending ending) = 0;
};

std::unique_ptr<AnswerParser> MakeAnswerParser(const ToolFormat& format, AnswerParserOptions options);

}  // namespace lem
