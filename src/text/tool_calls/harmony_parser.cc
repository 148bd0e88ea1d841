#include "text/tool_calls/harmony_parser.h"

#include <algorithm>
#include <array>

namespace lem {
namespace {

using Kind = AnswerPart::Kind;

constexpr std::string_view kMessage = "<|message|>";
// What ends a message. The prompt has opened the first one.
constexpr std::array<std::string_view, 5> kEnds = {"<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"};
constexpr size_t kMaxHeaderBytes = 512;

void Give(Kind kind, std::string_view text, AnswerParts& out) {
  if (text.empty()) return;
  if (!out.empty() && out.back().kind == kind) {
    out.back().text += text;
  } else {
    out.push_back({kind, 0, std::string(text)});
  }
}

}  // namespace

AnswerParts HarmonyParser::Append(std::string_view text) {
  AnswerParts out;
  text_ += text;
  while (Step(/*at_end=*/false, out)) {
  }
  return out;
}

AnswerParts HarmonyParser::Finish(Ending ending) {
  AnswerParts out;
  while (Step(/*at_end=*/true, out)) {
  }
  EndBody(ending == Ending::kWhole, out);
  return out;
}

bool HarmonyParser::Step(bool at_end, AnswerParts& out) {
  if (in_header_) {
    // A header begins with a marker or a recipient; a model that lost the form just answers.
    const size_t message = text_.find(kMessage);
    if (message != std::string::npos) {
      BeginBody(std::string_view(text_).substr(0, message));
      text_.erase(0, message + kMessage.size());
      return true;
    }
    const bool plain =
        !text_.empty() && text_.front() != '<' && text_.front() != ' ' && !text_.starts_with("assistant");
    const bool may_yet = std::string_view("assistant").starts_with(text_);
    if ((plain && !may_yet) || text_.size() > kMaxHeaderBytes) {
      in_header_ = false;
      body_ = Body::kText;
      return true;
    }
    if (at_end) text_.clear();  // a header without a message
    return false;
  }
  size_t end = std::string::npos;
  for (const std::string_view marker : kEnds) end = std::min(end, text_.find(marker));
  if (end != std::string::npos) {
    GiveBody(std::string_view(text_).substr(0, end), out);
    EndBody(/*complete=*/true, out);
    text_.erase(0, end);
    for (const std::string_view marker : kEnds) {
      if (marker != "<|channel|>" && text_.starts_with(marker)) {
        text_.erase(0, marker.size());
        break;
      }
    }
    in_header_ = true;
    return true;
  }
  size_t keep = 0;
  for (const std::string_view marker : kEnds) {
    for (size_t length = std::min(marker.size() - 1, text_.size()); length > keep && !at_end; --length) {
      if (text_.ends_with(marker.substr(0, length))) keep = length;
    }
  }
  GiveBody(std::string_view(text_).substr(0, text_.size() - keep), out);
  text_.erase(0, text_.size() - keep);
  return false;
}

// <|start|>assistant to=functions.f<|channel|>commentary json, in any order.
void HarmonyParser::BeginBody(std::string_view header) {
  in_header_ = false;
  raw_.clear();
  body_ = Body::kText;
  const size_t to = header.find("to=");
  if (to != std::string_view::npos && !options_.tools.empty()) {
    std::string_view name = header.substr(to + 3);
    name = name.substr(0, name.find_first_of(" \t\r\n<"));
    if (name.starts_with("functions.")) name.remove_prefix(10);
    if (!name.empty()) {
      body_ = Body::kArguments;
      reader_.emplace(sink_, std::string(name));
      return;
    }
  }
  if (header.find("analysis") != std::string_view::npos) body_ = Body::kReasoning;
}

void HarmonyParser::GiveBody(std::string_view text, AnswerParts& out) {
  if (body_ == Body::kReasoning) return Give(Kind::kReasoning, text, out);
  if (body_ != Body::kArguments) return Give(Kind::kText, text, out);
  if (!reader_->begun()) raw_ += text;
  reader_->Append(text, out);
}

void HarmonyParser::EndBody(bool complete, AnswerParts& out) {
  if (body_ == Body::kArguments) {
    if (!complete && reader_->begun() && sink_.open()) {
      sink_.Note("the call was cut off", out);
    } else {
      reader_->Finish(out);
      reader_->Abort(out);
      if (!reader_->begun()) {
        sink_.Note("what looks like a call of a tool is shown as text: its arguments are no object", out);
        Give(Kind::kText, raw_, out);
      } else if (reader_->repaired() || reader_->failed()) {
        sink_.Note("the JSON of a call was repaired", out);
      }
    }
  }
  body_ = Body::kNone;
  raw_.clear();
}

}  // namespace lem
