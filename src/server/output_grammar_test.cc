#include "server/output_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/testing/fake_service.h"
#include "server/tool_grammar.h"
#include "text/tool_calls/answer_parser.h"

namespace lem {
namespace {

constexpr std::string_view kTools = R"([
  {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false}}},
  {"type": "function", "function": {"name": "stop", "parameters": {}}},
  {"type": "function", "function": {"name": "now"}}])";

class OutputGrammarTest : public testing::Test {
 protected:
  const Tokenizer& tokenizer() const { return *service_.FindModel("fake")->tokenizer; }

  ParseResult<std::shared_ptr<const Grammar>> Compile(const ChatRequest& request, const ToolFormat& format = {},
                                                      bool starts_in_reasoning = false) {
    return CompileChatGrammar(cache_, {tokenizer(), format, starts_in_reasoning}, request);
  }

  std::unique_ptr<GrammarMatcher> MatcherOf(const ChatRequest& request, const ToolFormat& format = {},
                                            bool starts_in_reasoning = false) {
    const auto grammar = Compile(request, format, starts_in_reasoning);
    if (!grammar || *grammar == nullptr) {
      ADD_FAILURE() << (grammar ? "no grammar" : grammar.error().status.ToString());
      return nullptr;
    }
    return GrammarMatcher::Create(*grammar, vocabulary_);
  }

  // A whole answer under the grammar.
  bool Matches(const ChatRequest& request, std::string_view answer, const ToolFormat& format = {},
               bool starts_in_reasoning = false) {
    const auto matcher = MatcherOf(request, format, starts_in_reasoning);
    return matcher != nullptr && matcher->AcceptBytes(answer) && matcher->MayEnd();
  }

  static ChatRequest WithTools(ToolChoice::Kind kind, std::vector<std::string> names = {}) {
    ChatRequest request;
    request.tools = ParseJson(kTools)->as_array();
    request.tool_choice = {kind, std::move(names)};
    return request;
  }

  FakeService service_;
  GrammarCache cache_;
  std::shared_ptr<const GrammarVocabulary> vocabulary_ = GrammarVocabulary::Create(tokenizer());
};

TEST_F(OutputGrammarTest, FreeAnswersHaveNone) {
  const auto grammar = Compile(ChatRequest());
  ASSERT_TRUE(grammar.has_value());
  EXPECT_EQ(*grammar, nullptr);
}

TEST_F(OutputGrammarTest, Forms) {
  ChatRequest request;
  request.options.form = {OutputForm::Kind::kJsonSchema,
                          R"({"type":"object","properties":{"a":{"type":"integer"}},
    "required":["a"],"additionalProperties":false})",
                          {},
                          "response_format"};
  EXPECT_TRUE(Matches(request, R"({"a": 1})"));
  EXPECT_FALSE(Matches(request, R"({"a": "1"})"));
  request.options.form = {OutputForm::Kind::kChoice, "", {"yes", "no"}, "choice"};
  EXPECT_TRUE(Matches(request, "no"));
  EXPECT_FALSE(Matches(request, "maybe"));
  request.options.form = {OutputForm::Kind::kJsonObject, "", {}, "response_format"};
  EXPECT_TRUE(Matches(request, R"({"x": [1, {}]})"));
  EXPECT_FALSE(Matches(request, "[]"));
}

TEST_F(OutputGrammarTest, WhatCannotBeCompiledNamesItsParameter) {
  ChatRequest request;
  request.options.form = {OutputForm::Kind::kJsonSchema, R"({"type":"nothing"})", {}, "response_format"};
  auto grammar = Compile(request);
  ASSERT_FALSE(grammar.has_value());
  EXPECT_EQ(grammar.error().param, "response_format");
  EXPECT_EQ(grammar.error().status.code(), StatusCode::kInvalidArgument);

  ChatRequest tools = WithTools(ToolChoice::Kind::kRequired);
  tools.tools[1].at("function").as_object()["parameters"] =
      *ParseJson(R"({"type":"object","properties":{"x":{"type":"nothing"}}})");
  grammar = Compile(tools);
  ASSERT_FALSE(grammar.has_value());
  EXPECT_EQ(grammar.error().param, "tools[1].function.parameters");
  // What is not strict is then any object.
  tools.tool_choice.kind = ToolChoice::Kind::kAuto;
  EXPECT_TRUE(Matches(tools, "<tool_call>\n{\"name\": \"stop\", \"arguments\": {\"x\": 1}}\n</tool_call>"));
  tools.tools[1].at("function").as_object()["strict"] = true;
  EXPECT_FALSE(Compile(tools).has_value());
}

TEST_F(OutputGrammarTest, RequiredCalls) {
  const ChatRequest request = WithTools(ToolChoice::Kind::kRequired);
  const std::string call =
      "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>";
  EXPECT_TRUE(Matches(request, call));
  EXPECT_TRUE(Matches(request, call + "\n" + call));
  EXPECT_FALSE(Matches(request, "Sure. " + call));
  EXPECT_FALSE(Matches(request, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_TRUE(Matches(request, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(Matches(request, "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"x\": 1}}\n</tool_call>"));
  ChatRequest one = request;
  one.parallel_tool_calls = false;
  EXPECT_TRUE(Matches(one, call));
  EXPECT_FALSE(Matches(one, call + "\n" + call));
  const ChatRequest named = WithTools(ToolChoice::Kind::kRequired, {"stop"});
  EXPECT_FALSE(Matches(named, call));
  EXPECT_TRUE(Matches(named, "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>"));
}

TEST_F(OutputGrammarTest, AutomaticCalls) {
  const ChatRequest request = WithTools(ToolChoice::Kind::kAuto);
  EXPECT_TRUE(Matches(request, "Any text, even <tool and {\"json\": 1}."));
  EXPECT_TRUE(Matches(request, "I look.\n<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(Matches(request, "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>"));
}

TEST_F(OutputGrammarTest, AFormOrACall) {
  ChatRequest request = WithTools(ToolChoice::Kind::kAuto);
  request.options.form = {OutputForm::Kind::kChoice, "", {"yes"}, "choice"};
  EXPECT_TRUE(Matches(request, "yes"));
  EXPECT_TRUE(Matches(request, "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(Matches(request, "no"));
}

TEST_F(OutputGrammarTest, ReasoningComesFirst) {
  ToolFormat format;
  format.reasoning = {"<think>", "</think>"};
  ChatRequest request;
  request.options.form = {OutputForm::Kind::kChoice, "", {"yes", "no"}, "choice"};
  EXPECT_TRUE(Matches(request, "yes", format));
  EXPECT_TRUE(Matches(request, "<think>\nHm.\n</think>\n\nyes", format));
  EXPECT_FALSE(Matches(request, "<think>\nHm.\n</think>\n\nperhaps", format));
  EXPECT_TRUE(Matches(request, "Hm.</think>no", format, /*starts_in_reasoning=*/true));
  EXPECT_FALSE(Matches(request, "no", format, /*starts_in_reasoning=*/true));
}

// What each family's grammar admits, its parser reads.
TEST_F(OutputGrammarTest, EveryFamilyReadsItsOwnCalls) {
  const std::pair<ToolFamily, std::string_view> cases[] = {
      {ToolFamily::kHermes, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a\"}}\n</tool_call>"},
      {ToolFamily::kLlama3, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"a\"}}"},
      {ToolFamily::kGemma, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"a\"}}"},
      {ToolFamily::kMistral, "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a\"}}]"},
      {ToolFamily::kMistralNamed, "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"a\"}"},
      {ToolFamily::kDeepSeek,
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": "
       "\"a\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {ToolFamily::kPhi, "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a\"}}]<|/tool_call|>"},
      {ToolFamily::kHarmony,
       "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
       "<|constrain|>json<|message|>{\"city\": \"a\"}"},
  };
  for (const auto& [family, answer] : cases) {
    ToolFormat format;
    format.family = family;
    for (const auto kind : {ToolChoice::Kind::kRequired, ToolChoice::Kind::kAuto}) {
      EXPECT_TRUE(Matches(WithTools(kind), answer, format)) << answer;
    }
    std::string bad(answer);
    bad.replace(bad.find("\"city\""), 6, "\"town\"");
    for (const auto kind : {ToolChoice::Kind::kRequired, ToolChoice::Kind::kAuto}) {
      EXPECT_FALSE(Matches(WithTools(kind), bad, format)) << bad;
    }
    const auto parser = MakeAnswerParser(format, {{"get_weather", "stop"}});
    AnswerParts parts = parser->Append(answer);
    for (AnswerPart& part : parser->Finish(AnswerParser::Ending::kWhole)) parts.push_back(std::move(part));
    std::string name, arguments;
    for (const AnswerPart& part : parts) {
      EXPECT_NE(part.kind, AnswerPart::Kind::kNote) << part.text;
      if (part.kind == AnswerPart::Kind::kCallBegin) name = part.text;
      if (part.kind == AnswerPart::Kind::kCallArguments) arguments += part.text;
    }
    EXPECT_EQ(name, "get_weather") << answer;
    EXPECT_EQ(arguments, "{\"city\": \"a\"}") << answer;
  }
}

TEST_F(OutputGrammarTest, SameRequestsShareAGrammar) {
  const auto first = Compile(WithTools(ToolChoice::Kind::kRequired));
  EXPECT_EQ(*first, *Compile(WithTools(ToolChoice::Kind::kRequired)));
  EXPECT_NE(*first, *Compile(WithTools(ToolChoice::Kind::kAuto)));
  for (size_t i = 0; i < GrammarCache::kMaxGrammars + 1; ++i) {
    ASSERT_TRUE(cache_.Find(fmt::format("{}", i), GrammarPiece::Literal("x")).ok());
  }
  EXPECT_NE(*first, *Compile(WithTools(ToolChoice::Kind::kRequired))) << "it was pushed out";
}

TEST_F(OutputGrammarTest, CachedGrammarsHaveABudget) {
  const auto count_kept = [](GrammarCache& cache) {
    std::vector<std::shared_ptr<const Grammar>> made;
    for (int i = 0; i < 8; ++i) {
      auto grammar = cache.Find(fmt::format("{}", i), GrammarPiece::Regex(fmt::format("[a-z]{{{}}}", i + 1)));
      if (!grammar.ok()) return size_t{0};
      made.push_back(*grammar);
    }
    const auto in_cache = [](const auto& grammar) { return grammar.use_count() > 1; };
    return static_cast<size_t>(std::ranges::count_if(made, in_cache));
  };
  GrammarCache large, small(1);
  EXPECT_EQ(count_kept(large), 8u);
  EXPECT_EQ(count_kept(small), 1u) << "the last one stays";
  const auto alone = Grammar::Compile(GrammarPiece::Regex("[a-z]{1}"));
  ASSERT_TRUE(alone.ok());
  GrammarCache some((*alone)->MemoryBytes() * 4);
  const size_t kept = count_kept(some);
  EXPECT_GE(kept, 2u);
  EXPECT_LE(kept, 4u);
}

}  // namespace
}  // namespace lem
