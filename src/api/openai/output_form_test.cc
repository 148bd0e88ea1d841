#include "api/openai/output_form.h"

#include <gtest/gtest.h>

#include "api/openai/completion_request.h"
#include "api/openai/testing/chat_fields.h"

namespace lem::openai {
namespace {

using Kind = OutputForm::Kind;

OutputForm Taken(std::string_view fields) { return TakenFields(fields).options.form; }

std::string Refused(std::string_view fields) {
  const auto request = ParseFields(fields);
  if (request) return "";
  EXPECT_EQ(request.error().status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(request.error().code, "");
  return request.error().param;
}

TEST(OutputForm, ResponseFormat) {
  EXPECT_EQ(Taken(R"("response_format":null)").kind, Kind::kText);
  EXPECT_EQ(Taken(R"("response_format":{"type":"text"})").kind, Kind::kText);
  EXPECT_EQ(Taken(R"("response_format":{"type":"json_object"})").kind, Kind::kJsonObject);
  const OutputForm schema = Taken(
      R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"b":1,"a":[]}}})");
  EXPECT_EQ(schema.kind, Kind::kJsonSchema);
  EXPECT_EQ(schema.source, R"({"b":1,"a":[]})") << "the order of keys stays";
  EXPECT_EQ(schema.param, "response_format.json_schema.schema");
  EXPECT_EQ(Taken(R"("response_format":{"type":"json_object","schema":{"a":1}})").source, R"({"a":1})");
}

TEST(OutputForm, Extensions) {
  const std::pair<std::string_view, Kind> cases[] = {
      {R"("guided_json":{"type":"object"})", Kind::kJsonSchema},
      {R"("guided_json":"{\"type\":\"object\"}")", Kind::kJsonSchema},
      {R"("json_schema":{"type":"object"})", Kind::kJsonSchema},
      {R"("regex":"a+")", Kind::kRegex},
      {R"("guided_regex":"a+")", Kind::kRegex},
      {R"("grammar":"root ::= \"a\"")", Kind::kGbnf},
      {R"("grammar":"start: \"a\"")", Kind::kLark},
      {R"("guided_grammar":"root ::= \"a\"")", Kind::kGbnf},
      {R"("choice":["a","b"])", Kind::kChoice},
      {R"("guided_choice":["a"])", Kind::kChoice},
      {R"("structured_outputs":{"json":{"type":"object"}})", Kind::kJsonSchema},
      {R"("structured_outputs":{"regex":"a"})", Kind::kRegex},
      {R"("structured_outputs":{"choice":["a"]})", Kind::kChoice},
      {R"("structured_outputs":{"json_object":true})", Kind::kJsonObject},
      {R"("grammar":"")", Kind::kText},
  };
  for (const auto& [fields, kind] : cases) EXPECT_EQ(Taken(fields).kind, kind) << fields;
  EXPECT_EQ(Taken(R"("choice":["a","b"])").choices, (std::vector<std::string>{"a", "b"}));
  const auto body = ParseJson(R"({"model":"m","prompt":"x","guided_regex":"[0-9]+"})");
  const auto completion = ParseCompletionRequest(*body);
  ASSERT_TRUE(completion.has_value());
  EXPECT_EQ(completion->options.form.source, "[0-9]+");
}

TEST(OutputForm, RefusesWhatIsWrongByName) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"("response_format":"json")", "response_format"},
      {R"("response_format":{})", "response_format.type"},
      {R"("response_format":{"type":"xml"})", "response_format.type"},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})", "response_format.json_schema.schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":1}})", "response_format.json_schema.schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"strict":1,"schema":{}}})",
       "response_format.json_schema.strict"},
      {R"("regex":1)", "regex"},
      {R"("choice":[])", "choice"},
      {R"("choice":["a",1])", "choice[1]"},
      {R"("choice":"a")", "choice"},
      {R"("regex":"a","guided_choice":["a"])", "guided_choice"},
      {R"("response_format":{"type":"json_object"},"grammar":"root ::= \"a\"")", "grammar"},
      {R"("structured_outputs":{"structural_tag":"x"})", "structured_outputs.structural_tag"},
  };
  for (const auto& [fields, param] : cases) EXPECT_EQ(Refused(fields), param) << fields;
}

}  // namespace
}  // namespace lem::openai
