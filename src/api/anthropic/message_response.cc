#include "api/anthropic/message_response.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "base/json.h"

namespace lem::anthropic {
namespace {

// Clients send it back and expect it not to be empty; nothing here depends on it.
constexpr std::string_view kSignature = "bGVtb25hZGU=";

std::string_view StopReason(const ChoiceEnd& end) {
  if (end.has_tool_calls && end.reason != FinishReason::kLength) return "tool_use";
  if (end.reason == FinishReason::kLength) return "max_tokens";
  // The end marker of the fallback template is no string of the client's; the server does not name it here.
  return end.stop_string.empty() ? "end_turn" : "stop_sequence";
}

void WriteStop(const ChoiceEnd& end, JsonWriter& writer) {
  const std::string_view reason = StopReason(end);
  writer.Key("stop_reason").String(reason);
  writer.Key("stop_sequence");
  reason == "stop_sequence" ? writer.String(end.stop_string) : writer.Null();
}

// Tokens that were taken from the cache are not counted as input.
void WriteUsage(const Usage& usage, JsonWriter& writer) {
  writer.BeginObject();
  writer.Key("input_tokens").Int(usage.prompt_tokens - usage.cached_tokens);
  writer.Key("cache_creation_input_tokens").Int(0);
  writer.Key("cache_read_input_tokens").Int(usage.cached_tokens);
  writer.Key("output_tokens").Int(usage.completion_tokens);
  writer.Key("output_tokens_details").BeginObject().Key("thinking_tokens").Int(usage.reasoning_tokens).EndObject();
  writer.Key("service_tier").String("standard").EndObject();
}

JsonWriter& BeginMessage(const MessageEnvelope& envelope, JsonWriter& writer) {
  writer.BeginObject().Key("id").String(envelope.id).Key("type").String("message");
  return writer.Key("role").String("assistant").Key("model").String(envelope.model);
}

class StreamWriter final : public AnswerWriter {
 public:
  StreamWriter(MessageEnvelope envelope, MessageOptions options) : envelope_(std::move(envelope)), options_(options) {}

  bool is_stream() const override { return true; }

  WireMessages Begin() override {
    Usage usage;
    usage.prompt_tokens = envelope_.prompt_tokens;
    JsonWriter message;
    message.BeginObject().Key("type").String("message_start").Key("message");
    BeginMessage(envelope_, message).Key("content").BeginArray().EndArray();
    message.Key("stop_reason").Null().Key("stop_sequence").Null();
    WriteUsage(usage, message.Key("usage"));
    message.EndObject().EndObject();
    WireMessages messages = {{message.Take(), "message_start"}};
    for (WireMessage& ping : Ping()) messages.push_back(std::move(ping));
    return messages;
  }

  WireMessages Ping() override { return {{R"({"type":"ping"})", "ping"}}; }

  WireMessages Text(AnswerText text) override {
    if (text.text.empty()) return {};
    WireMessages messages;
    // White space between a model's reasoning and its calls is no answer.
    if (block_ != Block::kText && text.text.find_first_not_of(" \t\r\n") == std::string::npos && num_blocks_ > 0)
      return {};
    Enter(Block::kText, R"({"type":"text","text":""})", messages);
    Delta("text_delta", "text", text.text, messages);
    return messages;
  }

  WireMessages Reasoning(int32_t /*choice*/, std::string_view text) override {
    if (!options_.thinking) return {};
    WireMessages messages;
    Enter(Block::kThinking, R"({"type":"thinking","thinking":"","signature":""})", messages);
    if (options_.show_thinking) Delta("thinking_delta", "thinking", text, messages);
    return messages;
  }

  WireMessages ToolCall(const AnswerToolCall& call) override {
    WireMessages messages;
    if (!call.id.empty()) {
      Leave(messages);
      JsonWriter block;
      block.BeginObject().Key("type").String("tool_use").Key("id").String(call.id).Key("name").String(call.name);
      block.Key("input").BeginObject().EndObject().EndObject();
      Enter(Block::kToolUse, block.text(), messages);
    }
    if (!call.arguments.empty()) Delta("input_json_delta", "partial_json", call.arguments, messages);
    return messages;
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    end_ = end;
    WireMessages messages;
    // A message has at least one block.
    if (num_blocks_ == 0) Enter(Block::kText, R"({"type":"text","text":""})", messages);
    Leave(messages);
    return messages;
  }

  WireMessages End(const Usage& usage) override {
    JsonWriter delta;
    delta.BeginObject().Key("type").String("message_delta").Key("delta").BeginObject();
    WriteStop(end_, delta);
    delta.EndObject();
    WriteUsage(usage, delta.Key("usage"));
    delta.EndObject();
    return {{delta.Take(), "message_delta"}, {R"({"type":"message_stop"})", "message_stop"}};
  }

  WireMessages Fail(const WireError& error) override { return {{WriteError(error), "error"}}; }

 private:
  enum class Block { kNone, kText, kThinking, kToolUse };

  // Begins a block, unless one of this kind is open.
  void Enter(Block block, std::string_view content_block, WireMessages& messages) {
    if (block_ == block) return;
    Leave(messages);
    block_ = block;
    messages.push_back(
        {fmt::format(R"({{"type":"content_block_start","index":{},"content_block":{}}})", num_blocks_++, content_block),
         "content_block_start"});
  }

  void Leave(WireMessages& messages) {
    if (block_ == Block::kNone) return;
    if (block_ == Block::kThinking) Delta("signature_delta", "signature", kSignature, messages);
    messages.push_back(
        {fmt::format(R"({{"type":"content_block_stop","index":{}}})", num_blocks_ - 1), "content_block_stop"});
    block_ = Block::kNone;
  }

  void Delta(std::string_view type, std::string_view key, std::string_view text, WireMessages& messages) const {
    messages.push_back({fmt::format(R"({{"type":"content_block_delta","index":{},"delta":{{"type":"{}","{}":{}}}}})",
                                    num_blocks_ - 1, type, key, JsonQuote(text)),
                        "content_block_delta"});
  }

  const MessageEnvelope envelope_;
  const MessageOptions options_;
  Block block_ = Block::kNone;  // the one that is open
  int32_t num_blocks_ = 0;      // begun
  ChoiceEnd end_;
};

class BodyWriter final : public AnswerWriter {
 public:
  BodyWriter(MessageEnvelope envelope, MessageOptions options) : envelope_(std::move(envelope)), options_(options) {}

  bool is_stream() const override { return false; }
  WireMessages Begin() override { return {}; }

  WireMessages Text(AnswerText text) override {
    if (blocks_.empty() || blocks_.back().kind != Block::Kind::kText) {
      if (text.text.find_first_not_of(" \t\r\n") == std::string::npos && !blocks_.empty()) return {};
      if (text.text.empty()) return {};
      blocks_.push_back({Block::Kind::kText, "", {}});
    }
    blocks_.back().text += text.text;
    return {};
  }

  WireMessages Reasoning(int32_t /*choice*/, std::string_view text) override {
    if (!options_.thinking) return {};
    if (blocks_.empty() || blocks_.back().kind != Block::Kind::kThinking) {
      blocks_.push_back({Block::Kind::kThinking, "", {}});
    }
    if (options_.show_thinking) blocks_.back().text += text;
    return {};
  }

  WireMessages ToolCall(const AnswerToolCall& call) override {
    if (!call.id.empty()) {
      blocks_.push_back({Block::Kind::kToolUse, "", call});
    } else if (!blocks_.empty()) {
      blocks_.back().call.arguments += call.arguments;
    }
    return {};
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    end_ = end;
    return {};
  }

  WireMessages End(const Usage& usage) override {
    if (blocks_.empty()) blocks_.push_back({Block::Kind::kText, "", {}});
    JsonWriter writer;
    BeginMessage(envelope_, writer).Key("content").BeginArray();
    for (const Block& block : blocks_) Write(block, writer);
    writer.EndArray();
    WriteStop(end_, writer);
    WriteUsage(usage, writer.Key("usage"));
    writer.EndObject();
    return {{writer.Take(), ""}};
  }

  WireMessages Fail(const WireError& /*error*/) override { return {}; }

 private:
  struct Block {
    enum class Kind { kText, kThinking, kToolUse } kind;
    std::string text;
    AnswerToolCall call;
  };

  static void Write(const Block& block, JsonWriter& writer) {
    writer.BeginObject().Key("type");
    switch (block.kind) {
      case Block::Kind::kText:
        writer.String("text").Key("text").String(block.text);
        break;
      case Block::Kind::kThinking:
        writer.String("thinking").Key("thinking").String(block.text).Key("signature").String(kSignature);
        break;
      case Block::Kind::kToolUse: {
        writer.String("tool_use").Key("id").String(block.call.id).Key("name").String(block.call.name).Key("input");
        // An answer that was cut off may leave the arguments unfinished.
        const Result<JsonValue> input = ParseJson(block.call.arguments);
        input.ok() && input->is_object() ? writer.Value(*input) : writer.BeginObject().EndObject();
        break;
      }
    }
    writer.EndObject();
  }

  const MessageEnvelope envelope_;
  const MessageOptions options_;
  std::vector<Block> blocks_;
  ChoiceEnd end_;
};

void Write(const ModelSummary& model, JsonWriter& writer) {
  writer.BeginObject().Key("type").String("model").Key("id").String(model.id);
  writer.Key("display_name").String(model.id);
  writer.Key("created_at").String(fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(model.created_unix_s)));
  writer.Key("lifecycle").String("active");
  writer.Key("max_input_tokens");
  model.context_length > 0 ? writer.Int(model.context_length) : writer.Null();
  writer.EndObject();
}

}  // namespace

std::unique_ptr<AnswerWriter> MakeMessageWriter(MessageEnvelope envelope, MessageOptions options) {
  if (options.stream) return std::make_unique<StreamWriter>(std::move(envelope), options);
  return std::make_unique<BodyWriter>(std::move(envelope), options);
}

std::string ErrorType(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
    case 529:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return http_status >= 500 ? "api_error" : "invalid_request_error";
  }
}

std::string WriteError(const WireError& error) {
  JsonWriter writer;
  writer.BeginObject().Key("type").String("error").Key("error").BeginObject();
  writer.Key("type").String(error.type).Key("message").String(error.message).EndObject();
  writer.Key("request_id");
  error.request_id.empty() ? writer.Null() : writer.String(error.request_id);
  writer.EndObject();
  return writer.Take();
}

std::string WriteTokenCount(int64_t input_tokens) { return fmt::format(R"({{"input_tokens":{}}})", input_tokens); }

std::string WriteModelList(std::span<const ModelSummary> models) {
  JsonWriter writer;
  writer.BeginObject().Key("data").BeginArray();
  for (const ModelSummary& model : models) Write(model, writer);
  writer.EndArray().Key("has_more").Bool(false);
  writer.Key("first_id");
  models.empty() ? writer.Null() : writer.String(models.front().id);
  writer.Key("last_id");
  models.empty() ? writer.Null() : writer.String(models.back().id);
  writer.EndObject();
  return writer.Take();
}

std::string WriteModel(const ModelSummary& model) {
  JsonWriter writer;
  Write(model, writer);
  return writer.Take();
}

}  // namespace lem::anthropic
