#include "api/openai/responses_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "api/openai/envelope.h"

namespace lem::openai {
namespace {

struct Item {
  enum class Kind { kMessage, kReasoning, kCall };
  Kind kind = Kind::kMessage;
  std::string id;
  std::string text;  // of a call its arguments
  std::string call_id, name;
  std::vector<AnswerToken> tokens;
  std::string_view status = "in_progress";
};

void WriteProbability(const TokenProbability& probability, JsonWriter& writer) {
  writer.Key("token").String(probability.bytes);
  WriteLogprob(probability.logprob, writer.Key("logprob"));
  writer.Key("bytes").BeginArray();
  for (const char byte : probability.bytes) writer.Int(static_cast<unsigned char>(byte));
  writer.EndArray();
}

void WriteTokens(const std::vector<AnswerToken>& tokens, JsonWriter& writer) {
  writer.BeginArray();
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
}

void WriteResponseUsage(const Usage& usage, JsonWriter& writer) {
  writer.BeginObject();
  writer.Key("input_tokens").Int(usage.prompt_tokens);
  writer.Key("input_tokens_details").BeginObject();
  writer.Key("cached_tokens").Int(usage.cached_tokens).Key("cache_write_tokens").Int(0).EndObject();
  writer.Key("output_tokens").Int(usage.completion_tokens);
  writer.Key("output_tokens_details").BeginObject();
  writer.Key("reasoning_tokens").Int(usage.reasoning_tokens).EndObject();
  writer.Key("total_tokens").Int(int64_t{usage.prompt_tokens} + usage.completion_tokens);
  writer.Key("joules");
  usage.energy_source == "unavailable" ? writer.Null() : writer.Double(usage.joules);
  writer.Key("joules_source").String(usage.energy_source).EndObject();
}

void WriteFrame(const ResponseFrame& frame, std::string_view status, JsonWriter& writer) {
  writer.Key("id").String(frame.id).Key("object").String("response");
  writer.Key("created_at").Int(frame.created_unix_s).Key("model").String(frame.model);
  writer.Key("status").String(status);
}

// Closes a response object whose other members are written.
std::string WithEcho(std::string body, const ResponseFrame& frame) {
  if (!frame.echo.empty()) body += ',';
  return body + frame.echo + '}';
}

// OpenAI's codes for what ends a response.
std::string_view FailureCode(const WireError& error) {
  if (error.type == "rate_limit_error") return "rate_limit_exceeded";
  return error.type == "invalid_request_error" ? "invalid_prompt" : "server_error";
}

class ResponsesWriter final : public AnswerWriter {
 public:
  ResponsesWriter(ResponseFrame frame, ResponseOptions options, int64_t (*now)(), ResponseObserver observer)
      : frame_(std::move(frame)), options_(options), now_(now), observer_(std::move(observer)) {}

  bool is_stream() const override { return options_.stream; }

  WireMessages Begin() override {
    const std::string response = WriteResponse(frame_, "in_progress");
    Emit("response.created", fmt::format(R"("response":{})", response));
    Emit("response.in_progress", fmt::format(R"("response":{})", response));
    return Take();
  }

  WireMessages Text(AnswerText text) override {
    const bool is_blank = text.text.find_first_not_of(" \t\r\n") == std::string::npos;
    // White space between a model's reasoning and its calls is no answer.
    if (!IsOpen(Item::Kind::kMessage) && is_blank && (!items_.empty() || text.text.empty()) && text.tokens.empty()) {
      return {};
    }
    Enter(Item::Kind::kMessage);
    Item& item = items_.back();
    item.text += text.text;
    if (options_.stream) {
      JsonWriter more;
      more.BeginObject().Key("delta").String(text.text).Key("logprobs");
      WriteTokens(text.tokens, more);
      EmitPart("response.output_text.delta", "content_index", Members(more.EndObject()));
    }
    std::ranges::move(text.tokens, std::back_inserter(item.tokens));
    return Take();
  }

  WireMessages Reasoning(int32_t /*choice*/, std::string_view text) override {
    if (text.empty()) return {};
    Enter(Item::Kind::kReasoning);
    items_.back().text += text;
    const bool is_summary = options_.reasoning == ReasoningForm::kSummary;
    EmitPart(is_summary ? "response.reasoning_summary_text.delta" : "response.reasoning_text.delta",
             is_summary ? "summary_index" : "content_index", fmt::format(R"("delta":{})", JsonQuote(text)));
    return Take();
  }

  WireMessages ToolCall(const AnswerToolCall& call) override {
    if (!call.id.empty()) {
      Leave("completed");
      Enter(Item::Kind::kCall, call.id, call.name);
    }
    if (call.arguments.empty() || !IsOpen(Item::Kind::kCall)) return Take();
    items_.back().text += call.arguments;
    EmitItem("response.function_call_arguments.delta", fmt::format(R"("delta":{})", JsonQuote(call.arguments)));
    return Take();
  }

  WireMessages EndChoice(const ChoiceEnd& end) override {
    end_ = end;
    // A response has at least one item.
    if (items_.empty()) Enter(Item::Kind::kMessage);
    Leave(end.reason == FinishReason::kLength ? "incomplete" : "completed");
    return Take();
  }

  WireMessages End(const Usage& usage) override {
    FinishedResponse finished;
    JsonWriter output;
    output.BeginArray();
    for (const Item& item : items_) WriteItem(item, output);
    finished.output = output.EndArray().Take();
    const bool is_whole = end_.reason != FinishReason::kLength;
    JsonWriter response;
    response.BeginObject();
    WriteFrame(frame_, is_whole ? "completed" : "incomplete", response);
    response.Key("completed_at");
    is_whole ? response.Int(now_()) : response.Null();
    response.Key("error").Null();
    response.Key("incomplete_details");
    response.Raw(is_whole ? "null" : R"({"reason":"max_output_tokens"})");
    response.Key("output").Raw(finished.output);
    WriteResponseUsage(usage, response.Key("usage"));
    if (!end_.note.empty()) response.Key("lem_note").String(end_.note);
    finished.body = WithEcho(response.Take(), frame_);
    if (observer_) observer_(finished);
    if (!options_.stream) return {{std::move(finished.body), ""}};
    Emit(is_whole ? "response.completed" : "response.incomplete", fmt::format(R"("response":{})", finished.body));
    return Take();
  }

  WireMessages Fail(const WireError& error) override {
    Emit("response.failed", fmt::format(R"("response":{})", WriteResponse(frame_, "failed", &error)));
    return Take();
  }

 private:
  bool IsOpen(Item::Kind kind) const { return is_open_ && items_.back().kind == kind; }

  // Begins an item, unless one of this kind is open.
  void Enter(Item::Kind kind, std::string call_id = "", std::string name = "") {
    if (IsOpen(kind)) return;
    Leave("completed");
    static constexpr std::string_view kPrefixes[] = {"msg", "rs", "fc"};
    const size_t suffix = frame_.id.find('_') + 1;
    Item item{.kind = kind, .call_id = std::move(call_id), .name = std::move(name)};
    item.id = fmt::format("{}_{}_{}", kPrefixes[static_cast<size_t>(kind)], std::string_view(frame_.id).substr(suffix),
                          items_.size());
    items_.push_back(std::move(item));
    is_open_ = true;
    if (!options_.stream) return;
    EmitWholeItem("response.output_item.added", /*with_part=*/false);
    EmitWholePart("added");
  }

  void Leave(std::string_view status) {
    if (!std::exchange(is_open_, false)) return;
    Item& item = items_.back();
    item.status = status;
    if (!options_.stream) return;
    switch (item.kind) {
      case Item::Kind::kMessage: {
        JsonWriter more;
        more.BeginObject().Key("text").String(item.text).Key("logprobs");
        WriteTokens(item.tokens, more);
        EmitPart("response.output_text.done", "content_index", Members(more.EndObject()));
        break;
      }
      case Item::Kind::kReasoning: {
        const bool is_summary = options_.reasoning == ReasoningForm::kSummary;
        EmitPart(is_summary ? "response.reasoning_summary_text.done" : "response.reasoning_text.done",
                 is_summary ? "summary_index" : "content_index", fmt::format(R"("text":{})", JsonQuote(item.text)));
        break;
      }
      case Item::Kind::kCall:
        EmitItem("response.function_call_arguments.done",
                 fmt::format(R"("name":{},"arguments":{})", JsonQuote(item.name), JsonQuote(item.text)));
        break;
    }
    EmitWholePart("done");
    EmitWholeItem("response.output_item.done", /*with_part=*/true);
  }

  // The one part of a message or of reasoning.
  void WritePart(const Item& item, JsonWriter& writer) const {
    writer.BeginObject().Key("type");
    if (item.kind == Item::Kind::kReasoning) {
      writer.String(options_.reasoning == ReasoningForm::kSummary ? "summary_text" : "reasoning_text");
      writer.Key("text").String(item.text).EndObject();
      return;
    }
    writer.String("output_text").Key("text").String(item.text).Key("annotations").BeginArray().EndArray();
    writer.Key("logprobs");
    WriteTokens(item.tokens, writer);
    writer.EndObject();
  }

  void WriteItem(const Item& item, JsonWriter& writer, bool with_part = true) const {
    writer.BeginObject().Key("id").String(item.id);
    const auto parts = [&](std::string_view key, bool has_part) {
      writer.Key(key).BeginArray();
      if (has_part && with_part) WritePart(item, writer);
      writer.EndArray();
    };
    switch (item.kind) {
      case Item::Kind::kMessage:
        writer.Key("type").String("message").Key("role").String("assistant");
        parts("content", true);
        break;
      case Item::Kind::kReasoning: {
        const bool is_summary = options_.reasoning == ReasoningForm::kSummary;
        writer.Key("type").String("reasoning");
        parts("summary", is_summary);
        if (!is_summary) parts("content", true);
        writer.Key("encrypted_content").Null();
        break;
      }
      case Item::Kind::kCall:
        writer.Key("type").String("function_call").Key("call_id").String(item.call_id);
        writer.Key("name").String(item.name).Key("arguments").String(item.text);
        break;
    }
    writer.Key("status").String(item.status).EndObject();
  }

  static std::string Members(JsonWriter& object) {
    const std::string text = object.Take();
    return text.substr(1, text.size() - 2);
  }

  // `members` follow type and number.
  void Emit(std::string_view type, std::string_view members) {
    if (!options_.stream) return;
    messages_.push_back(
        {fmt::format(R"({{"type":"{}","sequence_number":{},{}}})", type, sequence_++, members), std::string(type)});
  }
  // Of the last item.
  void EmitItem(std::string_view type, std::string_view members) {
    Emit(type, fmt::format(R"("item_id":"{}","output_index":{},{})", items_.back().id, items_.size() - 1, members));
  }
  // Of its one part.
  void EmitPart(std::string_view type, std::string_view index, std::string_view members) {
    EmitItem(type, fmt::format(R"("{}":0,{})", index, members));
  }
  void EmitWholeItem(std::string_view type, bool with_part) {
    JsonWriter item;
    WriteItem(items_.back(), item, with_part);
    Emit(type, fmt::format(R"("output_index":{},"item":{})", items_.size() - 1, item.text()));
  }
  // `what`: "added" or "done".
  void EmitWholePart(std::string_view what) {
    const Item& item = items_.back();
    if (item.kind == Item::Kind::kCall) return;
    const bool is_summary = item.kind == Item::Kind::kReasoning && options_.reasoning == ReasoningForm::kSummary;
    JsonWriter part;
    WritePart(item, part);
    EmitPart(fmt::format("response.{}.{}", is_summary ? "reasoning_summary_part" : "content_part", what),
             is_summary ? "summary_index" : "content_index", fmt::format(R"("part":{})", part.text()));
  }
  WireMessages Take() { return std::exchange(messages_, {}); }

  const ResponseFrame frame_;
  const ResponseOptions options_;
  int64_t (*const now_)();
  const ResponseObserver observer_;
  std::vector<Item> items_;
  bool is_open_ = false;  // the last item is being written
  ChoiceEnd end_;
  WireMessages messages_;  // to be given out
  uint64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeResponsesWriter(ResponseFrame frame, ResponseOptions options, int64_t (*now)(),
                                                  ResponseObserver observer) {
  return std::make_unique<ResponsesWriter>(std::move(frame), options, now, std::move(observer));
}

std::string WriteResponse(const ResponseFrame& frame, std::string_view status, const WireError* error) {
  JsonWriter response;
  response.BeginObject();
  WriteFrame(frame, status, response);
  response.Key("completed_at").Null().Key("error");
  if (error == nullptr) {
    response.Null();
  } else {
    response.BeginObject().Key("code").String(FailureCode(*error)).Key("message").String(error->message).EndObject();
  }
  response.Key("incomplete_details").Null().Key("output").BeginArray().EndArray().Key("usage").Null();
  return WithEcho(response.Take(), frame);
}

std::string WriteDeletedResponse(std::string_view id) {
  JsonWriter writer;
  writer.BeginObject().Key("id").String(id).Key("object").String("response").Key("deleted").Bool(true).EndObject();
  return writer.Take();
}

std::string WriteInputTokens(int64_t num_tokens) {
  JsonWriter writer;
  writer.BeginObject().Key("object").String("response.input_tokens").Key("input_tokens").Int(num_tokens).EndObject();
  return writer.Take();
}

std::optional<std::string> WriteItemList(const JsonArray& items, const ItemListQuery& query) {
  const auto at = [&](size_t i) -> const JsonValue& { return items[query.newest_first ? items.size() - 1 - i : i]; };
  const auto id_of = [&](size_t i) {
    const auto& id = at(i).at("id").as_string();
    return std::string_view(id.data(), id.size());
  };
  size_t begin = 0;
  if (!query.after.empty()) {
    while (begin < items.size() && id_of(begin) != query.after) ++begin;
    if (begin++ == items.size()) return std::nullopt;
  }
  const size_t end = std::min(items.size(), begin + query.limit);
  JsonWriter writer;
  writer.BeginObject().Key("object").String("list").Key("data").BeginArray();
  for (size_t i = begin; i < end; ++i) writer.Value(at(i));
  writer.EndArray().Key("first_id");
  begin < end ? writer.String(id_of(begin)) : writer.Null();
  writer.Key("last_id");
  begin < end ? writer.String(id_of(end - 1)) : writer.Null();
  writer.Key("has_more").Bool(end < items.size()).EndObject();
  return writer.Take();
}

}  // namespace lem::openai
