#include "api/openai/chat_response.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

namespace lem::openai {
namespace {

void WriteProbability(const TokenProbability& probability, JsonWriter& writer) {
  writer.Key("token").String(probability.bytes);
  WriteLogprob(probability.logprob, writer.Key("logprob"));
  writer.Key("bytes").BeginArray();
  for (const char byte : probability.bytes) writer.Int(static_cast<unsigned char>(byte));
  writer.EndArray();
}

void WriteLogprobs(const std::vector<AnswerToken>& tokens, JsonWriter& writer) {
  writer.BeginObject().Key("content").BeginArray();
  for (const AnswerToken& token : tokens) {
    writer.BeginObject();
    WriteProbability(token.chosen, writer);
    writer.Key("top_logprobs").BeginArray();
    for (const TokenProbability& candidate : token.top) {
      writer.BeginObject();
      WriteProbability(candidate, writer);
      writer.EndObject();
    }
    writer.EndArray().EndObject();
  }
  writer.EndArray();
  writer.Key("refusal").Null().EndObject();
}

class ChatStreamWriter final : public AnswerWriter {
 public:
  ChatStreamWriter(const Envelope& envelope, const RequestOptions& options)
      : num_choices_(options.num_choices),
        include_usage_(options.include_usage),
        has_logprobs_(options.num_logprobs >= 0) {
    JsonWriter writer;
    BeginObject(envelope, "chat.completion.chunk", writer);
    head_ = writer.Take();
  }

  bool is_stream() const override { return true; }

  WireMessages Begin() override {
    WireMessages messages;
    for (int32_t choice = 0; choice < num_choices_; ++choice) {
      messages.push_back(Chunk(choice, R"({"role":"assistant","content":"","refusal":null})", nullptr, "null"));
    }
    return messages;
  }

  WireMessages Text(AnswerText text) override {
    JsonWriter delta;
    delta.BeginObject().Key("content").String(text.text).EndObject();
    return {Chunk(text.choice, delta.text(), has_logprobs_ ? &text.tokens : nullptr, "null")};
  }

  // Both names that clients read.
  WireMessages Reasoning(int32_t choice, std::string_view text) override {
    JsonWriter delta;
    delta.BeginObject().Key("reasoning_content").String(text).Key("reasoning").String(text).EndObject();
    return {Chunk(choice, delta.text(), nullptr, "null")};
  }

  WireMessages ToolCall(const AnswerToolCall& call) override {
    JsonWriter delta;
    delta.BeginObject().Key("tool_calls").BeginArray().BeginObject();
    delta.Key("index").Int(call.call);
    if (!call.id.empty()) delta.Key("id").String(call.id).Key("type").String("function");
    delta.Key("function").BeginObject();
    if (!call.id.empty()) delta.Key("name").String(call.name);
    delta.Key("arguments").String(call.arguments).EndObject();
    delta.EndObject().EndArray().EndObject();
    return {Chunk(call.choice, delta.text(), nullptr, "null")};
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    return {Chunk(end.choice, "{}", nullptr, JsonQuote(FinishReasonName(end)), end.note)};
  }

  WireMessages End(const Usage& usage) override {
    WireMessages messages;
    if (include_usage_) {
      JsonWriter writer;
      WriteUsage(usage, writer);
      messages.push_back({head_ + R"(,"choices":[],"usage":)" + writer.text() + "}", ""});
    }
    messages.push_back({"[DONE]", ""});
    return messages;
  }

  WireMessages Fail(const WireError& error) override { return {{WriteError(error), ""}, {"[DONE]", ""}}; }

 private:
  WireMessage Chunk(int32_t choice, std::string_view delta, const std::vector<AnswerToken>* tokens,
                    std::string_view finish_reason, std::string_view note = {}) const {
    JsonWriter writer;
    writer.BeginObject();
    writer.Key("index").Int(choice);
    writer.Key("delta").Raw(delta);
    writer.Key("logprobs");
    if (tokens == nullptr) {
      writer.Null();
    } else {
      WriteLogprobs(*tokens, writer);
    }
    writer.Key("finish_reason").Raw(finish_reason);
    if (!note.empty()) writer.Key("lem_note").String(note);
    writer.EndObject();
    return {fmt::format(R"({},"choices":[{}]{}}})", head_, writer.text(), include_usage_ ? R"(,"usage":null)" : ""),
            ""};
  }

  const int32_t num_choices_;
  const bool include_usage_;
  const bool has_logprobs_;
  std::string head_;  // of every chunk, up to the choices
};

class ChatBodyWriter final : public AnswerWriter {
 public:
  ChatBodyWriter(Envelope envelope, const RequestOptions& options)
      : envelope_(std::move(envelope)),
        has_logprobs_(options.num_logprobs >= 0),
        choices_(static_cast<size_t>(options.num_choices)) {}

  bool is_stream() const override { return false; }
  WireMessages Begin() override { return {}; }

  WireMessages Text(AnswerText text) override {
    Choice& choice = choices_[static_cast<size_t>(text.choice)];
    choice.text += text.text;
    std::ranges::move(text.tokens, std::back_inserter(choice.tokens));
    return {};
  }

  WireMessages Reasoning(int32_t choice, std::string_view text) override {
    choices_[static_cast<size_t>(choice)].reasoning += text;
    return {};
  }

  WireMessages ToolCall(const AnswerToolCall& call) override {
    std::vector<AnswerToolCall>& calls = choices_[static_cast<size_t>(call.choice)].calls;
    if (!call.id.empty()) {
      calls.push_back(call);
    } else if (!calls.empty()) {
      calls.back().arguments += call.arguments;
    }
    return {};
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    choices_[static_cast<size_t>(end.choice)].end = end;
    return {};
  }

  WireMessages End(const Usage& usage) override {
    JsonWriter writer;
    BeginObject(envelope_, "chat.completion", writer);
    writer.Key("choices").BeginArray();
    for (size_t i = 0; i < choices_.size(); ++i) WriteChoice(i, writer);
    writer.EndArray();
    WriteUsage(usage, writer.Key("usage"));
    writer.EndObject();
    return {{writer.Take(), ""}};
  }

  WireMessages Fail(const WireError& /*error*/) override { return {}; }

 private:
  struct Choice {
    std::string text;
    std::string reasoning;
    std::vector<AnswerToolCall> calls;
    std::vector<AnswerToken> tokens;
    ChoiceEnd end;
  };

  void WriteChoice(size_t idx, JsonWriter& writer) const {
    const Choice& choice = choices_[idx];
    writer.BeginObject();
    writer.Key("index").UInt(idx);
    writer.Key("message");
    WriteMessage(choice, writer);
    writer.Key("logprobs");
    if (has_logprobs_) {
      WriteLogprobs(choice.tokens, writer);
    } else {
      writer.Null();
    }
    writer.Key("finish_reason").String(FinishReasonName(choice.end));
    if (!choice.end.note.empty()) writer.Key("lem_note").String(choice.end.note);
    writer.EndObject();
  }

  static void WriteMessage(const Choice& choice, JsonWriter& writer) {
    writer.BeginObject();
    writer.Key("role").String("assistant");
    writer.Key("content");
    if (choice.text.empty() && !choice.calls.empty()) {
      writer.Null();
    } else {
      writer.String(choice.text);
    }
    if (!choice.reasoning.empty()) {
      writer.Key("reasoning_content").String(choice.reasoning).Key("reasoning").String(choice.reasoning);
    }
    if (!choice.calls.empty()) {
      writer.Key("tool_calls").BeginArray();
      for (const AnswerToolCall& call : choice.calls) {
        writer.BeginObject().Key("id").String(call.id).Key("type").String("function").Key("function").BeginObject();
        writer.Key("name").String(call.name).Key("arguments").String(call.arguments).EndObject().EndObject();
      }
      writer.EndArray();
    }
    writer.Key("refusal").Null().EndObject();
  }

  const Envelope envelope_;
  const bool has_logprobs_;
  std::vector<Choice> choices_;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeChatWriter(Envelope envelope, const RequestOptions& options) {
  if (options.stream) return std::make_unique<ChatStreamWriter>(envelope, options);
  return std::make_unique<ChatBodyWriter>(std::move(envelope), options);
}

}  // namespace lem::openai
