// The parser of all families but Harmony: reasoning in tags, then text in which calls stand between markers, or an
// answer that as a whole is a call. Not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tool_calls/answer_parser.h"
#include "text/tool_calls/call_reader.h"

namespace lem {

// What follows a marker.
enum class Payload {
  kJson,          // an object with name and arguments, or a list of them
  kJsonOrNamed,   // the same, or a name, a separator and arguments
  kJsonOrPython,  // the same, or Python until `close` or the end
  kNamed,         // a name, a separator and arguments
  kNothing,       // the marker means nothing by itself
};

struct CallMarker {
  std::string_view open;
  Payload payload = Payload::kJson;
  std::string_view separator;  // between a name and its arguments
  std::string_view close;      // empty = the end of the value
};

class MarkedParser final : public AnswerParser {
 public:
  MarkedParser(const ToolFormat& format, AnswerParserOptions options);

  AnswerParts Append(std::string_view text) override;
  bool in_call() const override { return mode_ >= Mode::kPayload; }
  AnswerParts Finish(Ending ending) override;

 private:
  enum class Mode {
    kStart,  // nothing but white space so far, of the answer or after the reasoning
    kReasoning,
    kText,
    kPayload,    // after a marker: what is it?
    kHeader,     // a name, up to its separator
    kJson,       // calls
    kPython,     // everything up to the end of the block
    kAfterJson,  // up to the closing marker
  };

  // Does one thing with text_; false: needs more of it.
  bool Step(AnswerParts& out);
  bool Start();
  bool Reasoning(AnswerParts& out);
  bool Text(AnswerParts& out);
  bool ChoosePayload(AnswerParts& out);
  bool Header(AnswerParts& out);
  bool Json(AnswerParts& out);
  bool Python(AnswerParts& out);
  bool AfterJson();

  void BeginJson(CallNames names);
  void EndJson(AnswerParts& out);
  // What was taken for a call is text.
  void GiveUp(std::string_view why, AnswerParts& out);
  void GiveText(std::string_view text, AnswerParts& out);
  // Length of the longest tail of text_ that may be the beginning of one of the markers.
  size_t OpenTail(std::string_view text) const;
  // True if text_ begins with `marker`; nullopt: it may yet.
  std::optional<bool> BeginsWith(std::string_view marker) const;
  void Consume(size_t count);

  const ToolFormat format_;
  const AnswerParserOptions options_;
  std::vector<CallMarker> markers_;
  bool bare_json_ = false;  // an answer may be a call without a marker
  CallSink sink_;
  Mode mode_;
  bool may_reason_ = true;
  bool at_end_ = false, cut_off_ = false;
  std::string text_;         // not yet understood
  int num_failures_ = 0;     // of what looked like calls
  std::string raw_;          // what was taken for a call, as it was written
  std::string space_;        // white space that shows only before more text
  bool drop_space_ = false;  // until the next text: after reasoning and calls
  CallMarker marker_;        // of the current call
  std::optional<CallReader> reader_;
};

}  // namespace lem
