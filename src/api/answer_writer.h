// The one way answers leave: the server tells what happens to an answer, and each dialect writes it in its own words.
//
// An answer has one or more choices; the server calls Begin, then Text, Reasoning, ToolCall and EndChoice for the
// choices in any order, then End; or Fail at any point after Begin, and nothing more. Writers do no I/O and are used by
// one thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/request_error.h"
#include "request/request.h"
#include "text/tokenizer.h"

namespace lem {

struct TokenProbability {
  TokenId token = 0;
  std::string bytes;     // as in text; of control tokens their name; may be a part of a code point
  float logprob = 0.0f;  // NaN: has none (the first token of a prompt)
};

// A token of an answer whose client asked for probabilities.
struct AnswerToken {
  TokenProbability chosen;
  std::vector<TokenProbability> top;  // likeliest first
};

// A piece of a choice's text, never half a code point. With probabilities, `tokens` are those whose text begins in it.
struct AnswerText {
  int32_t choice = 0;
  std::string text;
  std::vector<AnswerToken> tokens;
};

// A piece of a call of a tool. The first one of a call has id and name, those after it parts of the arguments' JSON.
struct AnswerToolCall {
  int32_t choice = 0;
  int32_t call = 0;  // its number in the choice
  std::string id, name;
  std::string arguments;
};

struct ChoiceEnd {
  int32_t choice = 0;
  FinishReason reason = FinishReason::kStop;  // kStop or kLength
  std::string stop_string;                    // the one that was found, if any
  bool has_tool_calls = false;
  std::string note;  // what was wrong with calls of tools; empty = nothing
};

// What goes over the wire as one unit: an event of a stream, or a whole body.
struct WireMessage {
  std::string data;
  std::string event;  // name of a server-sent event; empty = none
};
using WireMessages = std::vector<WireMessage>;

// How the messages of a stream follow each other.
enum class StreamFraming {
  kServerSentEvents,
  kJsonLines,  // NDJSON: one JSON text a line
};

class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  virtual StreamFraming framing() const { return StreamFraming::kServerSentEvents; }
  // True: messages are events of a stream that begins at once. False: there is one message, the body, made by End.
  virtual bool is_stream() const = 0;
  virtual WireMessages Begin() = 0;
  // What keeps a quiet stream alive, if the dialect has a message for it.
  virtual WireMessages Ping() { return {}; }
  virtual WireMessages Text(AnswerText text) = 0;
  // Of chats only.
  virtual WireMessages Reasoning(int32_t /*choice*/, std::string_view /*text*/) { return {}; }
  virtual WireMessages ToolCall(const AnswerToolCall& /*call*/) { return {}; }
  virtual WireMessages EndChoice(const ChoiceEnd& end) = 0;
  virtual WireMessages End(const Usage& usage) = 0;
  // What ends a stream that failed. REQUIRES: is_stream().
  virtual WireMessages Fail(const WireError& error) = 0;
};

}  // namespace lem
