#include "text/tool_calls/marked_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "text/tool_calls/python_call.h"

namespace lem {
namespace {

using Kind = AnswerPart::Kind;

// A call that is larger is text: no tool takes a mebibyte of name and arguments.
constexpr size_t kMaxCallBytes = size_t{1} << 20;
constexpr size_t kMaxHeaderBytes = 512;

constexpr std::string_view kSpace = " \t\r\n";

constexpr CallMarker kHermes[] = {{"<tool_call>", Payload::kJson, "", "</tool_call>"}};
constexpr CallMarker kLlama[] = {{"<|python_tag|>", Payload::kJsonOrPython, "", ""},
                                 {"<function=", Payload::kNamed, ">", "</function>"}};
constexpr CallMarker kMistral[] = {{"[TOOL_CALLS]", Payload::kJsonOrNamed, "[ARGS]", ""}};
constexpr CallMarker kDeepSeek[] = {
    {"<｜tool▁calls▁begin｜>", Payload::kNothing, "", ""},
    {"<｜tool▁calls▁end｜>", Payload::kNothing, "", ""},
    {"<｜tool▁call▁begin｜>", Payload::kNamed, "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"}};
constexpr CallMarker kGemma[] = {{"```tool_code", Payload::kJsonOrPython, "", "```"},
                                 {"```tool_call", Payload::kJsonOrPython, "", "```"},
                                 {"<tool_call>", Payload::kJson, "", "</tool_call>"}};
constexpr CallMarker kPhi[] = {{"<|tool_call|>", Payload::kJson, "", "<|/tool_call|>"},
                               {"functools[", Payload::kJson, "", ""}};

std::span<const CallMarker> CallMarkersOf(ToolFamily family) {
  switch (family) {
    case ToolFamily::kLlama3:
      return kLlama;
    case ToolFamily::kMistral:
    case ToolFamily::kMistralNamed:
      return kMistral;
    case ToolFamily::kDeepSeek:
      return kDeepSeek;
    case ToolFamily::kGemma:
      return kGemma;
    case ToolFamily::kPhi:
      return kPhi;
    default:
      return kHermes;
  }
}

std::string_view TrimmedFront(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

std::string_view Trimmed(std::string_view text) {
  text = TrimmedFront(text);
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

void Give(Kind kind, std::string_view text, AnswerParts& out) {
  if (text.empty()) return;
  if (!out.empty() && out.back().kind == kind) {
    out.back().text += text;
  } else {
    out.push_back({kind, 0, std::string(text)});
  }
}

}  // namespace

MarkedParser::MarkedParser(const ToolFormat& format, AnswerParserOptions options)
    : format_(format),
      options_(std::move(options)),
      sink_(options_),
      mode_(options_.starts_in_reasoning ? Mode::kReasoning : Mode::kStart) {
  if (options_.tools.empty()) return;
  const std::span<const CallMarker> markers = CallMarkersOf(format.family);
  markers_.assign(markers.begin(), markers.end());
  // Of every family: small models forget the markers. Only names of the request's tools count.
  bare_json_ = true;
}

AnswerParts MarkedParser::Append(std::string_view text) {
  AnswerParts out;
  text_ += text;
  while (Step(out)) {
  }
  return out;
}

AnswerParts MarkedParser::Finish(Ending ending) {
  AnswerParts out;
  at_end_ = true;
  cut_off_ = ending == Ending::kCutOff;
  while (Step(out)) {
  }
  GiveText(std::exchange(text_, {}), out);
  if (sink_.num_calls() == 0) Give(Kind::kText, space_, out);
  return out;
}

bool MarkedParser::Step(AnswerParts& out) {
  switch (mode_) {
    case Mode::kStart:
      return Start();
    case Mode::kReasoning:
      return Reasoning(out);
    case Mode::kText:
      return Text(out);
    case Mode::kPayload:
      return ChoosePayload(out);
    case Mode::kHeader:
      return Header(out);
    case Mode::kJson:
      return Json(out);
    case Mode::kPython:
      return Python(out);
    case Mode::kAfterJson:
      return AfterJson();
  }
  return false;
}

void MarkedParser::Consume(size_t count) { text_.erase(0, count); }

std::optional<bool> MarkedParser::BeginsWith(std::string_view marker) const {
  if (text_.starts_with(marker)) return true;
  if (!at_end_ && marker.starts_with(text_)) return std::nullopt;
  return false;
}

bool MarkedParser::Start() {
  const size_t begin = std::min(text_.find_first_not_of(kSpace), text_.size());
  if (!drop_space_) space_ += text_.substr(0, begin);
  Consume(begin);
  if (text_.empty()) return false;
  if (may_reason_ && !format_.reasoning.open.empty()) {
    const std::optional<bool> reasons = BeginsWith(format_.reasoning.open);
    if (!reasons) return false;
    if (*reasons) {
      Consume(format_.reasoning.open.size());
      space_.clear();
      mode_ = Mode::kReasoning;
      return true;
    }
  }
  for (const CallMarker& marker : markers_) {
    const std::optional<bool> marked = BeginsWith(marker.open);
    if (!marked) return false;
    if (*marked) {
      mode_ = Mode::kText;
      return true;
    }
  }
  if (bare_json_ && (text_.front() == '{' || text_.front() == '[')) {
    marker_ = {};
    raw_.clear();
    BeginJson(CallNames::kKnown);
    return true;
  }
  mode_ = Mode::kText;
  return true;
}

bool MarkedParser::Reasoning(AnswerParts& out) {
  const std::string& close = format_.reasoning.close;
  const size_t found = text_.find(close);
  if (found != std::string::npos) {
    Give(Kind::kReasoning, std::string_view(text_).substr(0, found), out);
    Consume(found + close.size());
    space_.clear();
    may_reason_ = false;
    drop_space_ = true;
    mode_ = Mode::kStart;
    return true;
  }
  size_t keep = at_end_ ? 0 : std::min(close.size() - 1, text_.size());
  while (keep > 0 && !text_.ends_with(std::string_view(close).substr(0, keep))) --keep;
  Give(Kind::kReasoning, std::string_view(text_).substr(0, text_.size() - keep), out);
  Consume(text_.size() - keep);
  return false;
}

size_t MarkedParser::OpenTail(std::string_view text) const {
  size_t longest = 0;
  for (const CallMarker& marker : markers_) {
    for (size_t length = std::min(marker.open.size() - 1, text.size()); length > longest; --length) {
      if (text.ends_with(marker.open.substr(0, length))) longest = length;
    }
  }
  return longest;
}

bool MarkedParser::Text(AnswerParts& out) {
  size_t first = std::string::npos;
  for (const CallMarker& marker : markers_) {
    const size_t found = text_.find(marker.open);
    if (found >= first) continue;
    first = found;
    marker_ = marker;
  }
  if (first == std::string::npos) {
    const size_t given = text_.size() - (at_end_ ? 0 : OpenTail(text_));
    GiveText(std::string_view(text_).substr(0, given), out);
    Consume(given);
    return false;
  }
  GiveText(std::string_view(text_).substr(0, first), out);
  Consume(first);
  raw_ = marker_.open;
  // Of "functools[" the bracket is part of the JSON.
  Consume(marker_.open.ends_with('[') ? marker_.open.size() - 1 : marker_.open.size());
  if (marker_.open.ends_with('[')) raw_.pop_back();
  if (marker_.payload != Payload::kNothing) mode_ = Mode::kPayload;
  return true;
}

bool MarkedParser::ChoosePayload(AnswerParts& out) {
  const size_t begin = std::min(text_.find_first_not_of(kSpace), text_.size());
  raw_ += text_.substr(0, begin);
  Consume(begin);
  if (text_.empty()) {
    if (at_end_) GiveUp("it is empty", out);
    return at_end_;
  }
  const bool is_json = text_.front() == '{' || text_.front() == '[';
  const bool named = marker_.payload == Payload::kNamed || marker_.payload == Payload::kJsonOrNamed;
  if (marker_.payload == Payload::kJsonOrPython && (text_.front() != '{')) {
    mode_ = Mode::kPython;
  } else if (named && (!is_json || marker_.payload == Payload::kNamed)) {
    mode_ = Mode::kHeader;
  } else {
    BeginJson(CallNames::kAny);
  }
  return true;
}

// NAME <separator> {...}, with DeepSeek also "function" <separator> NAME ```json {...}, with Mistral NAME[CALL_ID]...
bool MarkedParser::Header(AnswerParts& out) {
  const size_t brace = text_.find('{');
  if (brace == std::string::npos) {
    if (!at_end_ && text_.size() <= kMaxHeaderBytes) return false;
    GiveUp("there are no arguments", out);
    return true;
  }
  std::string_view header = std::string_view(text_).substr(0, brace);
  if (header.size() > kMaxHeaderBytes) {
    GiveUp("the name is too long", out);
    return true;
  }
  const size_t separator = header.find(marker_.separator);
  std::string_view name = Trimmed(header.substr(0, separator));
  if (separator != std::string_view::npos) {
    const std::string_view after = TrimmedFront(header.substr(separator + marker_.separator.size()));
    const size_t line_end = after.find_first_of("\n`");
    if (!after.empty() && !after.starts_with('`')) name = Trimmed(after.substr(0, line_end));
  }
  name = name.substr(0, name.find("[CALL_ID]"));
  if (name.empty() || name.find_first_of(" \t\r\n{}\"") != std::string_view::npos) {
    GiveUp("it has no name", out);
    return true;
  }
  reader_.emplace(sink_, std::string(name));
  raw_ += header;
  Consume(brace);
  mode_ = Mode::kJson;
  return true;
}

void MarkedParser::BeginJson(CallNames names) {
  reader_.emplace(sink_, names);
  mode_ = Mode::kJson;
}

bool MarkedParser::Json(AnswerParts& out) {
  if (text_.empty() && !at_end_) return false;
  // A closing marker ends the call even where brackets are missing.
  std::string_view given = text_;
  const size_t closed = marker_.close.empty() ? std::string::npos : text_.find(marker_.close);
  if (closed != std::string::npos) {
    given = given.substr(0, closed);
  } else if (!at_end_ && !marker_.close.empty()) {
    size_t keep = std::min(marker_.close.size() - 1, given.size());
    while (keep > 0 && !given.ends_with(marker_.close.substr(0, keep))) --keep;
    given.remove_suffix(keep);
  }
  const size_t taken = reader_->Append(given, out);
  // Written parts are not kept: they cannot become text again.
  if (!reader_->begun()) raw_ += given.substr(0, taken);
  const bool stuck = taken < given.size();
  Consume(taken);
  if (raw_.size() > kMaxCallBytes) {
    GiveUp("it is too long", out);
    return true;
  }
  if (reader_->done() && !reader_->failed()) {
    EndJson(out);
    return true;
  }
  const bool is_over = stuck || closed != std::string::npos || at_end_ || reader_->failed();
  if (!is_over) return false;
  if (cut_off_ && at_end_ && reader_->begun() && !reader_->failed()) {
    sink_.Note("the call was cut off", out);
    mode_ = Mode::kAfterJson;
    return false;
  }
  if (at_end_ && cut_off_ && sink_.num_calls() > 0) {
    sink_.Note("a further call was cut off", out);
    Consume(text_.size());
    mode_ = Mode::kText;
    return false;
  }
  if (reader_->failed() && !reader_->begun()) {
    GiveUp(reader_->done() ? "it names no tool of the request" : "it is not a call", out);
    return true;
  }
  reader_->Finish(out);
  if (!reader_->begun()) {
    GiveUp("it is incomplete", out);
    return true;
  }
  reader_->Abort(out);
  EndJson(out);
  return true;
}

void MarkedParser::EndJson(AnswerParts& out) {
  if (!reader_->begun()) {
    GiveUp("it has no name", out);
    return;
  }
  if (reader_->repaired() || reader_->failed()) sink_.Note("the JSON of a call was repaired", out);
  space_.clear();
  drop_space_ = true;
  mode_ = Mode::kAfterJson;
}

bool MarkedParser::AfterJson() {
  // Brackets too many, a fence, a semicolon between calls.
  const size_t begin = std::min(text_.find_first_not_of(" \t\r\n}];`"), text_.size());
  const bool more_calls = marker_.close.empty() && begin < text_.size() && text_[begin] == '{';
  if (begin < text_.size() && !more_calls && !marker_.close.empty()) {
    if (marker_.close.starts_with('`')) {
      // The fence was skipped.
    } else {
      Consume(begin);
      const std::optional<bool> closes = BeginsWith(marker_.close);
      if (!closes) return false;
      if (*closes) Consume(marker_.close.size());
      mode_ = Mode::kText;
      return true;
    }
  }
  Consume(begin);
  if (text_.empty()) return false;
  if (more_calls) {
    raw_.clear();
    BeginJson(marker_.open.empty() ? CallNames::kKnown : CallNames::kAny);
    return true;
  }
  mode_ = Mode::kText;
  return true;
}

bool MarkedParser::Python(AnswerParts& out) {
  const size_t closed = marker_.close.empty() ? std::string::npos : text_.find(marker_.close);
  if (closed == std::string::npos && !at_end_ && text_.size() <= kMaxCallBytes) return false;
  const auto calls = ParsePythonCalls(std::string_view(text_).substr(0, closed), options_.tools);
  if (!calls) {
    // "[" may also begin a list of JSON calls.
    if (text_.starts_with('[')) {
      BeginJson(CallNames::kKnown);
    } else {
      GiveUp("it is not a call of a tool of the request", out);
    }
    return true;
  }
  for (const PythonCall& call : *calls) {
    sink_.Begin(call.name, out);
    sink_.Arguments(call.arguments, out);
    sink_.End(out);
  }
  space_.clear();
  drop_space_ = true;
  Consume(closed == std::string::npos ? text_.size() : closed + marker_.close.size());
  mode_ = Mode::kText;
  return true;
}

void MarkedParser::GiveUp(std::string_view why, AnswerParts& out) {
  const bool is_bare = marker_.open.empty();
  mode_ = Mode::kText;
  std::string raw = std::exchange(raw_, {});
  // Behind the marker another one may stand.
  const size_t given = std::min(std::max(marker_.open.size(), size_t{1}), raw.size());
  text_.insert(0, raw, given);
  raw.resize(given);
  // One who gives up often reads the same text often.
  constexpr int kMaxFailures = 32;
  if (++num_failures_ >= kMaxFailures) markers_.clear();
  if (!is_bare) {
    sink_.Note(fmt::format("what looks like a call of a tool is shown as text: {}", why), out);
  }
  GiveText(raw, out);
}

// White space shows only when text follows: models put it before and between calls.
void MarkedParser::GiveText(std::string_view text, AnswerParts& out) {
  if (drop_space_) text = TrimmedFront(text);
  if (text.empty()) return;
  drop_space_ = false;
  if (options_.tools.empty()) {
    Give(Kind::kText, std::exchange(space_, {}), out);
    return Give(Kind::kText, text, out);
  }
  const size_t last = text.find_last_not_of(kSpace);
  if (last == std::string_view::npos) {
    space_ += text;
    return;
  }
  Give(Kind::kText, std::exchange(space_, std::string(text.substr(last + 1))), out);
  Give(Kind::kText, text.substr(0, last + 1), out);
}

}  // namespace lem
