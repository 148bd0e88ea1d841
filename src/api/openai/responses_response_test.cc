// What responses look like on the wire: the order of events is what clients rely on.
#include "api/openai/responses_response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lem::openai {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

int64_t FixedTime() { return 77; }

Usage SomeUsage() {
  Usage usage;
  usage.prompt_tokens = 9;
  usage.completion_tokens = 4;
  usage.cached_tokens = 5;
  usage.reasoning_tokens = 1;
  return usage;
}

// A writer, and what it says: each message is numbered, and named like its event.
class Response {
 public:
  explicit Response(ResponseOptions options)
      : writer(MakeResponsesWriter({"resp_x", 66, "m", R"("store":true)"}, options, FixedTime,
                                   [this](const FinishedResponse& response) { finished.push_back(response); })) {}

  void Add(const WireMessages& messages) {
    for (const WireMessage& message : messages) {
      auto json = ParseJson(message.data);
      ASSERT_TRUE(json.ok()) << message.data;
      if (writer->is_stream()) {
        EXPECT_EQ(json->at("type"), JsonValue(message.event));
        EXPECT_EQ(json->at("sequence_number"), events.size());
      }
      events.push_back(*std::move(json));
    }
  }
  std::vector<std::string> Kinds() const {
    std::vector<std::string> kinds;
    kinds.reserve(events.size());
    for (const JsonValue& event : events) kinds.emplace_back(event.at("type").as_string().subview(9));
    return kinds;
  }

  std::vector<FinishedResponse> finished;
  std::vector<JsonValue> events;
  std::unique_ptr<AnswerWriter> writer;
};

// Reasoning, text, two calls, white space that is dropped.
void WriteEverything(Response& response) {
  AnswerWriter& writer = *response.writer;
  response.Add(writer.Begin());
  response.Add(writer.Reasoning(0, "Hm"));
  response.Add(writer.Reasoning(0, "."));
  response.Add(writer.Text({0, "\n\n", {}}));
  response.Add(writer.Text({0, "I ", {}}));
  response.Add(writer.Text({0, "see", {}}));
  response.Add(writer.ToolCall({0, 0, "call_1", "f", ""}));
  response.Add(writer.ToolCall({0, 0, "", "", R"({"x":)"}));
  response.Add(writer.ToolCall({0, 0, "", "", "1}"}));
  response.Add(writer.Text({0, "\n", {}}));
  response.Add(writer.ToolCall({0, 1, "call_2", "g", "{}"}));
  response.Add(writer.EndChoice({.has_tool_calls = true, .note = "odd"}));
  response.Add(writer.End(SomeUsage()));
}

constexpr std::string_view kEverything =
    R"([{"id":"rs_x_0","type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"Hm."}],
         "encrypted_content":null,"status":"completed"},
        {"id":"msg_x_1","type":"message","role":"assistant","status":"completed",
         "content":[{"type":"output_text","text":"I see","annotations":[],"logprobs":[]}]},
        {"id":"fc_x_2","type":"function_call","call_id":"call_1","name":"f","arguments":"{\"x\":1}","status":"completed"},
        {"id":"fc_x_3","type":"function_call","call_id":"call_2","name":"g","arguments":"{}","status":"completed"}])";

TEST(ResponsesResponseTest, StreamsEveryKindOfItem) {
  Response response({.stream = true});
  WriteEverything(response);
  EXPECT_THAT(response.Kinds(),
              ElementsAre("created", "in_progress",  //
                          "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
                          "reasoning_text.done", "content_part.done", "output_item.done",  //
                          "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
                          "output_text.done", "content_part.done", "output_item.done",  //
                          "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
                          "function_call_arguments.done", "output_item.done",  //
                          "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
                          "output_item.done", "completed"));
  const auto& events = response.events;
  EXPECT_EQ(events[0].at("response").at("status"), "in_progress");
  EXPECT_EQ(events[2].at("item"), *ParseJson(R"({"id":"rs_x_0","type":"reasoning","summary":[],"content":[],
                                                "encrypted_content":null,"status":"in_progress"})"));
  EXPECT_EQ(events[11], *ParseJson(R"({"type":"response.output_text.delta","sequence_number":11,"item_id":"msg_x_1",
                                       "output_index":1,"content_index":0,"delta":"I ","logprobs":[]})"));
  EXPECT_EQ(events[13].at("text"), "I see");
  EXPECT_EQ(events[16].at("item").at("arguments"), "");
  EXPECT_EQ(events[19], *ParseJson(R"({"type":"response.function_call_arguments.done","sequence_number":19,
                                       "item_id":"fc_x_2","output_index":2,"name":"f","arguments":"{\"x\":1}"})"));
  EXPECT_EQ(events[20].at("item"), ParseJson(kEverything)->at(2));
  EXPECT_EQ(events.back().at("response").at("output"), *ParseJson(kEverything));
  ASSERT_EQ(response.finished.size(), 1u);
  EXPECT_EQ(*ParseJson(response.finished[0].output), *ParseJson(kEverything));
  EXPECT_EQ(*ParseJson(response.finished[0].body), events.back().at("response"));
}

TEST(ResponsesResponseTest, BodyIsTheSameResponse) {
  Response response({});
  WriteEverything(response);
  ASSERT_EQ(response.events.size(), 1u);
  const JsonValue& body = response.events[0];
  EXPECT_EQ(body.at("output"), *ParseJson(kEverything));
  EXPECT_EQ(body.at("object"), "response");
  EXPECT_EQ(body.at("created_at"), 66);
  EXPECT_EQ(body.at("completed_at"), 77);
  EXPECT_EQ(body.at("status"), "completed");
  EXPECT_TRUE(body.at("error").is_null());
  EXPECT_TRUE(body.at("incomplete_details").is_null());
  EXPECT_EQ(body.at("lem_note"), "odd");
  EXPECT_EQ(body.at("store"), true);
  EXPECT_EQ(body.at("usage"),
            *ParseJson(R"({"input_tokens":9,"input_tokens_details":{"cached_tokens":5,"cache_write_tokens":0},
                           "output_tokens":4,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":13,
                           "joules":null,"joules_source":"unavailable"})"));
}

TEST(ResponsesResponseTest, SummariesAreAskedFor) {
  Response response({.stream = true, .reasoning = ReasoningForm::kSummary});
  response.Add(response.writer->Begin());
  response.Add(response.writer->Reasoning(0, "Hm"));
  response.Add(response.writer->EndChoice({}));
  response.Add(response.writer->End({}));
  EXPECT_THAT(response.Kinds(),
              ElementsAre("created", "in_progress", "output_item.added", "reasoning_summary_part.added",
                          "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
                          "output_item.done", "completed"));
  EXPECT_EQ(response.events[4].at("summary_index"), 0);
  EXPECT_EQ(response.events[7].at("item").at("summary"), *ParseJson(R"([{"type":"summary_text","text":"Hm"}])"));
}

TEST(ResponsesResponseTest, AnEmptyAnswerIsAnEmptyMessage) {
  Response response({.stream = true});
  response.Add(response.writer->Begin());
  response.Add(response.writer->EndChoice({}));
  response.Add(response.writer->End({}));
  EXPECT_THAT(response.Kinds(), ElementsAre("created", "in_progress", "output_item.added", "content_part.added",
                                            "output_text.done", "content_part.done", "output_item.done", "completed"));
}

TEST(ResponsesResponseTest, WhatIsCutOffIsIncomplete) {
  Response response({.stream = true});
  response.Add(response.writer->Begin());
  response.Add(response.writer->Text({0, "I ", {}}));
  response.Add(response.writer->EndChoice({.reason = FinishReason::kLength}));
  response.Add(response.writer->End({}));
  EXPECT_EQ(response.Kinds().back(), "incomplete");
  const JsonValue& body = response.events.back().at("response");
  EXPECT_EQ(body.at("status"), "incomplete");
  EXPECT_EQ(body.at("incomplete_details").at("reason"), "max_output_tokens");
  EXPECT_EQ(body.at("output").at(0).at("status"), "incomplete");
  EXPECT_TRUE(body.at("completed_at").is_null());
}

TEST(ResponsesResponseTest, FailureIsAnEvent) {
  Response response({.stream = true});
  response.Add(response.writer->Begin());
  response.Add(response.writer->Text({0, "I ", {}}));
  response.Add(response.writer->Fail({"server_error", "it \"broke\"", "", "internal", "r"}));
  EXPECT_EQ(response.Kinds().back(), "failed");
  const JsonValue& body = response.events.back().at("response");
  EXPECT_EQ(body.at("status"), "failed");
  EXPECT_EQ(body.at("error"), *ParseJson(R"({"code":"server_error","message":"it \"broke\""})"));
  EXPECT_TRUE(response.finished.empty());
}

TEST(ResponsesResponseTest, WritesLogProbabilities) {
  Response response({.stream = true, .with_logprobs = true});
  response.Add(response.writer->Begin());
  const TokenProbability chosen{7, "I", -0.5f};
  response.Add(response.writer->Text({0, "I", {{chosen, {chosen, {8, "A", -2.0f}}}}}));
  response.Add(response.writer->EndChoice({}));
  const JsonValue expected = *ParseJson(R"([{"token":"I","logprob":-0.5,"bytes":[73],"top_logprobs":[
      {"token":"I","logprob":-0.5,"bytes":[73]},{"token":"A","logprob":-2.0,"bytes":[65]}]}])");
  // Numbers of other kinds are not equal as JSON values, but as text.
  const auto text = [](const JsonValue& value) {
    JsonWriter writer;
    writer.Value(value);
    return writer.Take();
  };
  EXPECT_THAT(text(response.events[4].at("logprobs")), HasSubstr(R"("token":"A")"));
  EXPECT_EQ(response.events[4].at("logprobs"), response.events[5].at("logprobs"));
  EXPECT_EQ(response.events[4].at("logprobs").at(0).at("bytes"), expected.at(0).at("bytes"));
  EXPECT_EQ(response.events[4].at("logprobs").at(0).at("top_logprobs").as_array().size(), 2u);
}

TEST(ItemListTest, IsPaged) {
  const JsonArray items = ParseJson(R"([{"id":"a"},{"id":"b"},{"id":"c"}])")->as_array();
  const auto page = [&](const ItemListQuery& query) {
    const auto text = WriteItemList(items, query);
    return text ? *ParseJson(*text) : JsonValue();
  };
  EXPECT_EQ(page({}), *ParseJson(R"({"object":"list","data":[{"id":"c"},{"id":"b"},{"id":"a"}],"first_id":"c",
                                     "last_id":"a","has_more":false})"));
  EXPECT_EQ(page({.limit = 1, .newest_first = false, .after = "a"}),
            *ParseJson(R"({"object":"list","data":[{"id":"b"}],"first_id":"b","last_id":"b","has_more":true})"));
  EXPECT_EQ(page({.after = "a"}),
            *ParseJson(R"({"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false})"));
  EXPECT_TRUE(page({.after = "z"}).is_null());
}

}  // namespace
}  // namespace lem::openai
