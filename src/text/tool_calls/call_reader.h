// Reads calls out of JSON while it comes: {"name": ..., "arguments": {...}}, a list of those, or OpenAI's
// {"function": {...}}. Bad JSON is repaired. Used by the parsers of answers. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tool_calls/answer_parser.h"
#include "text/tool_calls/json_repairer.h"

namespace lem {

// Writes the parts of calls, and counts them.
class CallSink {
 public:
  explicit CallSink(const AnswerParserOptions& options) : options_(options) {}

  void Begin(std::string_view name, AnswerParts& out);
  void Arguments(std::string_view json, AnswerParts& out);
  void End(AnswerParts& out);
  void Note(std::string text, AnswerParts& out) const;

  int32_t num_calls() const { return num_calls_; }
  bool open() const { return open_; }
  bool knows(std::string_view name) const;

 private:
  const AnswerParserOptions& options_;
  int32_t num_calls_ = 0;
  bool open_ = false, dropped_ = false;
};

// What names a caller may read: any, or those of the request's tools only.
enum class CallNames { kAny, kKnown };

class CallReader {
 public:
  CallReader(CallSink& sink, CallNames names) : sink_(sink), names_(names) {}
  // Of a call whose name is known: what is read is its arguments.
  CallReader(CallSink& sink, std::string name)
      : sink_(sink), names_(CallNames::kAny), is_named_(true), name_(std::move(name)), has_name_(true) {}

  // Returns the bytes taken: all, or those up to the end of the value or to what cannot stand there.
  size_t Append(std::string_view text, AnswerParts& out);
  // Closes what is open.
  void Finish(AnswerParts& out);
  // Ends the open call as it is.
  void Abort(AnswerParts& out);

  bool done() const { return repairer_.done(); }
  // The value is not a call (before a part of this object was written), or the JSON is beyond repair.
  bool failed() const { return rejected_ || repairer_.failed(); }
  bool repaired() const { return repairer_.repaired(); }
  bool begun() const { return num_begun_ > 0; }

 private:
  enum class Value { kOther, kKey, kName, kArguments };

  void Read(char c, AnswerParts& out);
  void BeginValue(char c);
  void EndString(AnswerParts& out);
  void EndObject(AnswerParts& out);
  void EndNamed(AnswerParts& out);
  void TakeArguments(std::string_view json, AnswerParts& out);
  void BeginCall(AnswerParts& out);
  void FlushArguments(AnswerParts& out);

  CallSink& sink_;
  const CallNames names_;
  const bool is_named_ = false;
  JsonRepairer repairer_;
  std::string strict_;
  std::string open_;       // brackets
  size_t call_depth_ = 0;  // of the members of a call; 0 = in none
  bool in_string_ = false, escaped_ = false, expects_key_ = false;
  Value value_ = Value::kOther;   // what is being read
  std::string key_, text_;        // the last key; a string that is being read, as JSON
  size_t arguments_depth_ = 0;    // > 0: inside the arguments
  std::string name_, arguments_;  // of the current call; arguments not yet written
  bool has_name_ = false;
  bool has_arguments_ = false, call_begun_ = false, rejected_ = false;
  int32_t num_begun_ = 0;
};

}  // namespace lem
