#include "api/ollama/response.h"

#include <fmt/format.h>

#include <chrono>
#include <iterator>
#include <utility>
#include <vector>

#include "api/time_text.h"
#include "base/json.h"

namespace lem::ollama {
namespace {

int64_t Nanoseconds(double milliseconds) { return static_cast<int64_t>(milliseconds * 1e6); }

void WriteCandidate(const TokenProbability& candidate, JsonWriter& writer) {
  writer.Key("token").String(candidate.bytes).Key("logprob").Double(static_cast<double>(candidate.logprob));
}

void WriteLogprobs(const std::vector<AnswerToken>& tokens, JsonWriter& writer) {
  writer.BeginArray();
  for (const AnswerToken& token : tokens) {
    writer.BeginObject();
    WriteCandidate(token.chosen, writer);
    if (!token.top.empty()) {
      writer.Key("top_logprobs").BeginArray();
      for (const TokenProbability& candidate : token.top) {
        writer.BeginObject();
        WriteCandidate(candidate, writer);
        writer.EndObject();
      }
      writer.EndArray();
    }
    writer.EndObject();
  }
  writer.EndArray();
}

// What a line, or the one body, tells of the answer.
struct Piece {
  std::string text;
  std::string thinking;
  std::vector<AnswerToolCall> calls;  // whole ones
  std::vector<AnswerToken> tokens;
};

class Writer final : public AnswerWriter {
 public:
  explicit Writer(ResponseOptions options) : options_(std::move(options)) {}

  bool is_stream() const override { return options_.stream; }
  StreamFraming framing() const override { return StreamFraming::kJsonLines; }
  WireMessages Begin() override { return {}; }

  WireMessages Text(AnswerText text) override {
    WireMessages messages = EndCall();
    piece_.text += text.text;
    std::ranges::move(text.tokens, std::back_inserter(piece_.tokens));
    if (piece_.text.empty() && piece_.tokens.empty()) return messages;
    return Put(std::move(messages));
  }

  WireMessages Reasoning(int32_t /*choice*/, std::string_view text) override {
    if (!options_.thinking) return {};
    piece_.thinking += text;
    return Put({});
  }

  // Arguments are an object here, so a call is told when it is whole.
  WireMessages ToolCall(const AnswerToolCall& call) override {
    WireMessages messages;
    if (!call.id.empty()) {
      messages = EndCall();
      call_ = call;
      has_call_ = true;
    } else {
      call_.arguments += call.arguments;
    }
    return messages;
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    reason_ = end.reason;
    return EndCall();
  }

  WireMessages End(const Usage& usage) override {
    JsonWriter writer;
    BeginLine(writer);
    writer.Key("done").Bool(true);
    writer.Key("done_reason").String(reason_ == FinishReason::kLength ? "length" : "stop");
    const auto total = std::chrono::duration<double, std::milli>(Clock::now() - options_.received_at);
    writer.Key("total_duration").Int(Nanoseconds(total.count()));
    writer.Key("load_duration").Int(Nanoseconds(usage.queue_ms));
    writer.Key("prompt_eval_count").Int(usage.prompt_tokens);
    writer.Key("prompt_eval_duration").Int(Nanoseconds(usage.prefill_ms));
    writer.Key("eval_count").Int(usage.completion_tokens);
    writer.Key("eval_duration").Int(Nanoseconds(usage.decode_ms));
    writer.EndObject();
    return {{writer.Take(), ""}};
  }

  WireMessages Fail(const WireError& error) override { return {{WriteError(error), ""}}; }

 private:
  // Model, time and what has gathered.
  void BeginLine(JsonWriter& writer) {
    const Piece piece = std::exchange(piece_, {});
    writer.BeginObject().Key("model").String(options_.model).Key("created_at").String(NowAsText());
    if (options_.answer == Answer::kGenerate) {
      writer.Key("response").String(piece.text);
      if (!piece.thinking.empty()) writer.Key("thinking").String(piece.thinking);
    } else {
      writer.Key("message").BeginObject().Key("role").String("assistant").Key("content").String(piece.text);
      if (!piece.thinking.empty()) writer.Key("thinking").String(piece.thinking);
      if (!piece.calls.empty()) WriteCalls(piece.calls, writer.Key("tool_calls"));
      writer.EndObject();
    }
    if (options_.with_logprobs && !piece.tokens.empty()) WriteLogprobs(piece.tokens, writer.Key("logprobs"));
  }

  static void WriteCalls(const std::vector<AnswerToolCall>& calls, JsonWriter& writer) {
    writer.BeginArray();
    for (const AnswerToolCall& call : calls) {
      writer.BeginObject().Key("id").String(call.id).Key("function").BeginObject();
      writer.Key("index").Int(call.call).Key("name").String(call.name).Key("arguments");
      // An answer that was cut off may leave the arguments unfinished.
      const Result<JsonValue> arguments = ParseJson(call.arguments);
      arguments.ok() && arguments->is_object() ? writer.Value(*arguments) : writer.BeginObject().EndObject();
      writer.EndObject().EndObject();
    }
    writer.EndArray();
  }

  // A line with what has gathered, if lines are written.
  WireMessages Put(WireMessages messages) {
    if (!options_.stream) return messages;
    JsonWriter writer;
    BeginLine(writer);
    writer.Key("done").Bool(false).EndObject();
    messages.push_back({writer.Take(), ""});
    return messages;
  }

  WireMessages EndCall() {
    if (!std::exchange(has_call_, false)) return {};
    piece_.calls.push_back(std::exchange(call_, {}));
    return Put({});
  }

  const ResponseOptions options_;
  Piece piece_;
  AnswerToolCall call_;  // the one that is coming
  bool has_call_ = false;
  FinishReason reason_ = FinishReason::kStop;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeWriter(ResponseOptions options) {
  return std::make_unique<Writer>(std::move(options));
}

std::string WriteLoaded(const ResponseOptions& options, std::string_view reason) {
  JsonWriter writer;
  writer.BeginObject().Key("model").String(options.model).Key("created_at").String(NowAsText());
  if (options.answer == Answer::kGenerate) {
    writer.Key("response").String("");
  } else {
    writer.Key("message").BeginObject().Key("role").String("assistant").Key("content").String("").EndObject();
  }
  writer.Key("done").Bool(true).Key("done_reason").String(reason).EndObject();
  return writer.Take();
}

std::string WriteEmbeddings(const EmbedResponse& response, std::span<const std::vector<float>> vectors) {
  JsonWriter writer;
  const auto write = [&](std::span<const float> vector) {
    writer.BeginArray();
    for (const float value : vector) writer.Float(value);
    writer.EndArray();
  };
  writer.BeginObject();
  if (response.is_single) {
    writer.Key("embedding");
    write(vectors.empty() ? std::span<const float>() : std::span<const float>(vectors.front()));
    writer.EndObject();
    return writer.Take();
  }
  writer.Key("model").String(response.model).Key("embeddings").BeginArray();
  for (const std::vector<float>& vector : vectors) write(vector);
  writer.EndArray();
  const std::chrono::duration<double, std::milli> total = Clock::now() - response.received_at;
  writer.Key("total_duration").Int(Nanoseconds(total.count())).Key("load_duration").Int(0);
  writer.Key("prompt_eval_count").Int(response.prompt_tokens).EndObject();
  return writer.Take();
}

std::string WriteError(const WireError& error) {
  JsonWriter writer;
  writer.BeginObject().Key("error").String(error.message).EndObject();
  return writer.Take();
}

}  // namespace lem::ollama
