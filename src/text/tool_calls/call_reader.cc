#include "text/tool_calls/call_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/json.h"

namespace lem {
namespace {

using Kind = AnswerPart::Kind;

// Members that an object may have and still be a call that stands in an answer without a marker.
constexpr std::array<std::string_view, 9> kCallMembers = {"name", "function", "arguments", "parameters",  "args",
                                                          "type", "id",       "tool_name", "tool_call_id"};

bool IsName(std::string_view key) { return key == "name" || key == "tool_name"; }
bool IsArguments(std::string_view key) { return key == "arguments" || key == "parameters" || key == "args"; }

// A JSON string with its quotes, read.
std::string Unquote(const std::string& json) {
  const Result<JsonValue> value = ParseJson(json);
  if (!value.ok() || !value->is_string()) return {};
  return {value->get_string().data(), value->get_string().size()};
}

}  // namespace

void CallSink::Begin(std::string_view name, AnswerParts& out) {
  if (num_calls_ >= options_.max_calls) {
    if (!std::exchange(dropped_, true)) {
      Note(fmt::format("the model made more calls than {}; the others were dropped", options_.max_calls), out);
    }
    return;
  }
  open_ = true;
  out.push_back({Kind::kCallBegin, num_calls_, std::string(name)});
}

void CallSink::Arguments(std::string_view json, AnswerParts& out) {
  if (!open_ || json.empty()) return;
  if (!out.empty() && out.back().kind == Kind::kCallArguments && out.back().call == num_calls_) {
    out.back().text += json;
  } else {
    out.push_back({Kind::kCallArguments, num_calls_, std::string(json)});
  }
}

void CallSink::End(AnswerParts& out) {
  if (!std::exchange(open_, false)) return;
  out.push_back({Kind::kCallEnd, num_calls_++, {}});
}

void CallSink::Note(std::string text, AnswerParts& out) const {
  out.push_back({Kind::kNote, num_calls_, std::move(text)});
}

bool CallSink::knows(std::string_view name) const {
  return std::ranges::find(options_.tools, name) != options_.tools.end();
}

size_t CallReader::Append(std::string_view text, AnswerParts& out) {
  size_t taken = 0;
  // In pieces, so that a value that is no call is found before much was read of it.
  while (taken < text.size() && !failed() && !done()) {
    strict_.clear();
    const size_t n = repairer_.Append(text.substr(taken, 64), strict_);
    taken += n;
    for (const char c : strict_) Read(c, out);
    if (n == 0) break;
  }
  FlushArguments(out);
  if (done()) EndNamed(out);
  return taken;
}

void CallReader::Finish(AnswerParts& out) {
  strict_.clear();
  repairer_.Finish(strict_);
  for (const char c : strict_) Read(c, out);
  FlushArguments(out);
  EndNamed(out);
  if (num_begun_ == 0) rejected_ = true;
}

void CallReader::EndNamed(AnswerParts& out) {
  if (is_named_ && call_begun_) sink_.End(out);
}

void CallReader::Abort(AnswerParts& out) {
  FlushArguments(out);
  if (call_begun_) sink_.End(out);
}

// `c` is part of JSON that is well formed.
void CallReader::Read(char c, AnswerParts& out) {
  if (rejected_) return;
  if (is_named_) {
    if (arguments_.empty() && !call_begun_ && c != '{') {
      rejected_ = std::string_view(" \t\r\n").find(c) == std::string_view::npos;
      return;
    }
    arguments_ += c;
    return;
  }
  if (arguments_depth_ > 0) arguments_ += c;
  if (in_string_) {
    if (value_ != Value::kOther) text_ += c;
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      EndString(out);
    }
    return;
  }
  switch (c) {
    case ' ':
    case '\t':
    case '\n':
    case '\r':
      return;
    case ':':
      expects_key_ = false;
      return;
    case ',':
      expects_key_ = !open_.empty() && open_.back() == '{';
      if (open_.size() == call_depth_) key_.clear();
      return;
    case '}':
    case ']':
      open_.pop_back();
      if (arguments_depth_ > open_.size()) {
        arguments_depth_ = 0;
        has_arguments_ = true;
        FlushArguments(out);
      }
      if (open_.size() + 1 == call_depth_) EndObject(out);
      expects_key_ = false;
      return;
    default:
      BeginValue(c);
  }
}

void CallReader::BeginValue(char c) {
  const bool is_member = arguments_depth_ == 0 && call_depth_ > 0 && open_.size() == call_depth_;
  if (c == '"') {
    in_string_ = true;
    text_ = "\"";
    value_ = Value::kOther;
    if (is_member && expects_key_) value_ = Value::kKey;
    if (is_member && !expects_key_ && (IsName(key_) || key_ == "function")) value_ = Value::kName;
    if (is_member && !expects_key_ && IsArguments(key_)) value_ = Value::kArguments;
    return;
  }
  const bool begins_arguments = is_member && !expects_key_ && IsArguments(key_) && !has_arguments_;
  if (c == '{' || c == '[') {
    if (arguments_depth_ == 0 && c == '{') {
      const bool is_call = open_.empty() || open_ == "[";
      const bool holds_call = is_member && key_ == "function" && !has_name_;
      if (is_call || holds_call) call_depth_ = open_.size() + 1;
    }
    open_ += c;
    expects_key_ = c == '{';
    if (!begins_arguments) {
      if (call_depth_ == 0 && open_.size() > 1) rejected_ = true;  // a list of lists
      return;
    }
    if (c == '[') {
      rejected_ = true;  // arguments are an object
      return;
    }
    arguments_depth_ = open_.size();
    arguments_ = "{";
    return;
  }
  // A number or literal; only of its first letter matters what it is.
  if (call_depth_ == 0) rejected_ = true;
  if (begins_arguments) {
    if (c != 'n') rejected_ = true;
    has_arguments_ = true;  // null: none
    arguments_ = "{}";
  }
}

void CallReader::EndString(AnswerParts& out) {
  switch (std::exchange(value_, Value::kOther)) {
    case Value::kOther:
      if (call_depth_ == 0) rejected_ = true;
      return;
    case Value::kKey:
      key_ = Unquote(text_);
      if (names_ == CallNames::kKnown && std::ranges::find(kCallMembers, key_) == kCallMembers.end()) rejected_ = true;
      return;
    case Value::kName:
      if (has_name_) return;
      name_ = Unquote(text_);
      has_name_ = true;
      if (name_.empty() || (names_ == CallNames::kKnown && !sink_.knows(name_))) rejected_ = true;
      return FlushArguments(out);
    case Value::kArguments: {
      // JSON in a string.
      if (has_arguments_) return;
      JsonRepairer inner;
      std::string json;
      const std::string text = Unquote(text_);
      inner.Append(text, json);
      if (!text.empty()) inner.Finish(json);
      const size_t begin = json.find_first_not_of(" \t\r\n");
      if (!text.empty() && (inner.failed() || begin == std::string::npos || json[begin] != '{')) rejected_ = true;
      arguments_ = text.empty() ? "{}" : json;
      has_arguments_ = true;
      return FlushArguments(out);
    }
  }
}

// Nothing is written before both are known: the name, and that the arguments are an object.
void CallReader::FlushArguments(AnswerParts& out) {
  if (rejected_ || !has_name_ || arguments_.empty()) return;
  BeginCall(out);
  sink_.Arguments(arguments_, out);
  arguments_.clear();
}

void CallReader::BeginCall(AnswerParts& out) {
  if (std::exchange(call_begun_, true)) return;
  ++num_begun_;
  sink_.Begin(name_, out);
}

void CallReader::EndObject(AnswerParts& out) {
  call_depth_ = open_ == "[" || open_.empty() ? 0 : open_.size();
  if (call_depth_ > 0) return;  // {"function": {...}} goes on
  if (!has_name_) {
    rejected_ = true;
    return;
  }
  if (!has_arguments_) arguments_ = "{}";
  FlushArguments(out);
  sink_.End(out);
  has_name_ = has_arguments_ = call_begun_ = false;
  name_.clear();
  key_.clear();
  arguments_.clear();
}

}  // namespace lem
