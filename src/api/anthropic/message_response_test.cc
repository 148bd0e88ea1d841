// What answers look like on the wire: the order of events is what clients rely on.
#include "api/anthropic/message_response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"

namespace lem::anthropic {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Usage SomeUsage() {
  Usage usage;
  usage.prompt_tokens = 9;
  usage.completion_tokens = 4;
  usage.cached_tokens = 5;
  usage.reasoning_tokens = 1;
  return usage;
}

std::unique_ptr<AnswerWriter> Writer(MessageOptions options) { return MakeMessageWriter({"msg_1", "m", 9}, options); }

// Collects what a writer says: "event data" of each message.
class Transcript {
 public:
  void Add(const WireMessages& messages) {
    for (const WireMessage& message : messages) {
      const auto json = ParseJson(message.data);
      ASSERT_TRUE(json.ok()) << message.data;
      EXPECT_EQ(json->at("type"), JsonValue(message.event));
      lines.push_back(message.data);
    }
  }
  std::vector<std::string> lines;
};

std::string Start(int index, std::string_view block) {
  return fmt::format(R"({{"type":"content_block_start","index":{},"content_block":{}}})", index, block);
}
std::string Delta(int index, std::string_view delta) {
  return fmt::format(R"({{"type":"content_block_delta","index":{},"delta":{}}})", index, delta);
}
std::string Stop(int index) { return fmt::format(R"({{"type":"content_block_stop","index":{}}})", index); }

TEST(MessageResponseTest, StreamsEveryKindOfBlock) {
  const auto writer = Writer({.stream = true, .thinking = true, .show_thinking = true});
  EXPECT_TRUE(writer->is_stream());
  Transcript begin;
  begin.Add(writer->Begin());
  EXPECT_THAT(
      begin.lines,
      ElementsAre(R"({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m",)"
                  R"("content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,)"
                  R"("cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0,)"
                  R"("output_tokens_details":{"thinking_tokens":0},"service_tier":"standard"}}})",
                  R"({"type":"ping"})"));
  Transcript middle;
  middle.Add(writer->Reasoning(0, "h"));
  middle.Add(writer->Reasoning(0, "m"));
  middle.Add(writer->Text({0, "A\"", {}}));
  middle.Add(writer->Text({0, "b", {}}));
  middle.Add(writer->Text({0, "", {}}));
  middle.Add(writer->ToolCall({0, 0, "toolu_1", "f", ""}));
  middle.Add(writer->ToolCall({0, 0, "", "", R"({"a")"}));
  middle.Add(writer->ToolCall({0, 0, "", "", ":1}"}));
  middle.Add(writer->Text({0, "\n", {}}));
  middle.Add(writer->ToolCall({0, 1, "toolu_2", "g", ""}));
  middle.Add(writer->EndChoice({0, FinishReason::kStop, "", true, ""}));
  EXPECT_THAT(middle.lines,
              ElementsAre(Start(0, R"({"type":"thinking","thinking":"","signature":""})"),
                          Delta(0, R"({"type":"thinking_delta","thinking":"h"})"),
                          Delta(0, R"({"type":"thinking_delta","thinking":"m"})"),
                          Delta(0, R"({"type":"signature_delta","signature":"bGVtb25hZGU="})"), Stop(0),
                          Start(1, R"({"type":"text","text":""})"), Delta(1, R"({"type":"text_delta","text":"A\""})"),
                          Delta(1, R"({"type":"text_delta","text":"b"})"), Stop(1),
                          Start(2, R"({"type":"tool_use","id":"toolu_1","name":"f","input":{}})"),
                          Delta(2, R"({"type":"input_json_delta","partial_json":"{\"a\""})"),
                          Delta(2, R"({"type":"input_json_delta","partial_json":":1}"})"), Stop(2),
                          Start(3, R"({"type":"tool_use","id":"toolu_2","name":"g","input":{}})"), Stop(3)));
  Transcript end;
  end.Add(writer->End(SomeUsage()));
  EXPECT_THAT(end.lines,
              ElementsAre(R"({"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{)"
                          R"("input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":5,)"
                          R"("output_tokens":4,"output_tokens_details":{"thinking_tokens":1},)"
                          R"("service_tier":"standard"}})",
                          R"({"type":"message_stop"})"));
}

TEST(MessageResponseTest, ReasoningThatNobodyAskedForIsLeftOut) {
  const auto stream = Writer({.stream = true});
  EXPECT_TRUE(stream->Reasoning(0, "hm").empty());
  Transcript all;
  all.Add(stream->EndChoice({0, FinishReason::kLength, "", false, ""}));
  EXPECT_THAT(all.lines, ElementsAre(Start(0, R"({"type":"text","text":""})"), Stop(0)));
  const auto hidden = Writer({.thinking = true});
  (void)hidden->Reasoning(0, "hm");
  (void)hidden->EndChoice({});
  EXPECT_THAT(hidden->End({}).front().data, HasSubstr(R"({"type":"thinking","thinking":"","signature":"bGVt)"));
}

TEST(MessageResponseTest, WritesOneBody) {
  const auto writer = Writer({.thinking = true, .show_thinking = true});
  EXPECT_FALSE(writer->is_stream());
  (void)writer->Reasoning(0, "hm");
  (void)writer->Text({0, "\n\n", {}});
  (void)writer->Text({0, "Hel", {}});
  (void)writer->Text({0, "lo", {}});
  (void)writer->ToolCall({0, 0, "toolu_1", "f", ""});
  (void)writer->ToolCall({0, 0, "", "", R"({"a":1})"});
  (void)writer->ToolCall({0, 1, "toolu_2", "g", R"({"cut)"});
  (void)writer->EndChoice({0, FinishReason::kStop, "END", false, ""});
  const auto body = ParseJson(writer->End(SomeUsage()).front().data);
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(body->at("content"), *ParseJson(R"([{"type":"thinking","thinking":"hm","signature":"bGVtb25hZGU="},
      {"type":"text","text":"Hello"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1}},
      {"type":"tool_use","id":"toolu_2","name":"g","input":{}}])"));
  EXPECT_EQ(body->at("stop_reason"), "stop_sequence");
  EXPECT_EQ(body->at("stop_sequence"), "END");
  EXPECT_EQ(body->at("usage").at("input_tokens"), 4);
}

TEST(MessageResponseTest, StopReasons) {
  const std::pair<ChoiceEnd, std::string_view> cases[] = {
      {{.reason = FinishReason::kStop}, "end_turn"},
      {{.reason = FinishReason::kLength}, "max_tokens"},
      {{.reason = FinishReason::kStop, .has_tool_calls = true}, "tool_use"},
      {{.reason = FinishReason::kLength, .has_tool_calls = true}, "max_tokens"},
      {{.reason = FinishReason::kStop, .stop_string = "x"}, "stop_sequence"},
  };
  for (const auto& [end, reason] : cases) {
    const auto writer = Writer({});
    (void)writer->EndChoice(end);
    EXPECT_EQ(ParseJson(writer->End({}).front().data)->at("stop_reason"), JsonValue(reason));
  }
}

TEST(MessageResponseTest, Errors) {
  EXPECT_EQ(WriteError({"not_found_error", "no", "model", "x", "req_1"}),
            R"({"type":"error","error":{"type":"not_found_error","message":"no"},"request_id":"req_1"})");
  EXPECT_EQ(ErrorType(400), "invalid_request_error");
  EXPECT_EQ(ErrorType(503), "overloaded_error");
  EXPECT_EQ(ErrorType(500), "api_error");
  const auto writer = Writer({.stream = true});
  const WireMessages last = writer->Fail({"api_error", "broke", "", "", ""});
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].event, "error");
}

TEST(MessageResponseTest, Models) {
  const std::vector<ModelSummary> models = {{"a", 1700000000, 2048, "ready"}, {"b", 0, 0, "loading"}};
  EXPECT_EQ(WriteModelList(models),
            R"({"data":[{"type":"model","id":"a","display_name":"a","created_at":"2023-11-14T22:13:20Z",)"
            R"("lifecycle":"active","max_input_tokens":2048},{"type":"model","id":"b","display_name":"b",)"
            R"("created_at":"1970-01-01T00:00:00Z","lifecycle":"active","max_input_tokens":null}],)"
            R"("has_more":false,"first_id":"a","last_id":"b"})");
  EXPECT_THAT(WriteModelList({}), HasSubstr(R"("first_id":null)"));
}

}  // namespace
}  // namespace lem::anthropic
