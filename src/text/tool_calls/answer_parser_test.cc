#include "text/tool_calls/answer_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "base/json.h"
#include "text/detokenizer.h"

namespace lem {
namespace {

using Kind = AnswerPart::Kind;

// What a client would put together from the parts.
struct Assembled {
  std::string text, reasoning;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
  size_t num_ended = 0;
  size_t num_notes = 0;
  std::string order_error;
  friend bool operator==(const Assembled&, const Assembled&) = default;
};

std::ostream& operator<<(std::ostream& out, const Assembled& a) {
  out << "text " << JsonQuote(a.text) << " reasoning " << JsonQuote(a.reasoning);
  for (const auto& [name, arguments] : a.calls) out << " call " << name << " " << arguments;
  return out << " ended " << a.num_ended << " notes " << a.num_notes << " " << a.order_error;
}

void Add(const AnswerParts& parts, Assembled& a) {
  for (const AnswerPart& part : parts) {
    const auto call = static_cast<size_t>(part.call);
    switch (part.kind) {
      case Kind::kText:
        a.text += part.text;
        break;
      case Kind::kReasoning:
        a.reasoning += part.text;
        break;
      case Kind::kCallBegin:
        if (call != a.calls.size() || a.num_ended != a.calls.size()) a.order_error = "begin out of order";
        a.calls.emplace_back(part.text, "");
        break;
      case Kind::kCallArguments:
        if (call + 1 != a.calls.size()) {
          a.order_error = "arguments out of order";
          break;
        }
        a.calls.back().second += part.text;
        break;
      case Kind::kCallEnd:
        if (call + 1 != a.calls.size() || ++a.num_ended != a.calls.size()) a.order_error = "end out of order";
        break;
      case Kind::kNote:
        ++a.num_notes;
        break;
    }
  }
}

ToolFormat FormatOf(ToolFamily family) {
  ToolFormat format;
  format.family = family;
  if (family != ToolFamily::kHarmony) format.reasoning = {"<think>", "</think>"};
  return format;
}

const std::vector<std::string> kTools = {"get_weather", "add"};

Assembled Parse(ToolFamily family, const std::vector<std::string_view>& pieces, AnswerParserOptions options,
                AnswerParser::Ending ending = AnswerParser::Ending::kWhole) {
  const auto parser = MakeAnswerParser(FormatOf(family), std::move(options));
  Assembled result;
  for (const std::string_view piece : pieces) {
    const AnswerParts parts = parser->Append(piece);
    for (const AnswerPart& part : parts) {
      if (!IsWholeUtf8(part.text)) result.order_error = "half a code point";
    }
    Add(parts, result);
  }
  Add(parser->Finish(ending), result);
  return result;
}

bool IsBoundary(std::string_view text, size_t at) {
  return at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
}

std::vector<std::string_view> CodePoints(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    while (!IsBoundary(text, end)) ++end;
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

// The same whatever the pieces: whole, cut in two anywhere, code point by code point.
Assembled ParseAllWays(ToolFamily family, std::string_view text, const AnswerParserOptions& options = {kTools}) {
  const Assembled whole = Parse(family, {text}, options);
  EXPECT_EQ(Parse(family, CodePoints(text), options), whole) << text;
  for (size_t cut = 1; cut < text.size(); ++cut) {
    if (!IsBoundary(text, cut)) continue;
    EXPECT_EQ(Parse(family, {text.substr(0, cut), text.substr(cut)}, options), whole) << text << " cut at " << cut;
  }
  EXPECT_EQ(whole.order_error, "") << text;
  EXPECT_EQ(whole.num_ended, whole.calls.size()) << text;
  for (const auto& [name, arguments] : whole.calls) {
    const auto json = ParseJson(arguments);
    EXPECT_TRUE(json.ok() && json->is_object()) << text << " gave " << arguments;
  }
  return whole;
}

struct Case {
  ToolFamily family;
  std::string_view answer;
  Assembled expected;
};

Assembled Calls(std::vector<std::pair<std::string, std::string>> calls, std::string text = "", size_t num_notes = 0) {
  Assembled a;
  a.num_ended = calls.size();
  a.calls = std::move(calls);
  a.text = std::move(text);
  a.num_notes = num_notes;
  return a;
}

Assembled Text(std::string text, size_t num_notes = 0) { return Calls({}, std::move(text), num_notes); }

void Check(std::initializer_list<Case> cases) {
  for (const Case& one : cases) EXPECT_EQ(ParseAllWays(one.family, one.answer), one.expected) << one.answer;
}

TEST(AnswerParser, Hermes) {
  constexpr auto kFamily = ToolFamily::kHermes;
  Check({
      {kFamily, "Just text.\n", Text("Just text.\n")},
      {kFamily, "a <tool b </tool_call> <too", Text("a <tool b </tool_call> <too")},
      {kFamily, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": [2]}}\n</tool_call>",
       Calls({{"add", "{\"a\": 1, \"b\": [2]}"}})},
      {kFamily,
       "I will look.\n\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"K\u00f6ln \\\"}\"}}\n"
       "</tool_call>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>\n",
       Calls({{"get_weather", "{\"city\": \"K\u00f6ln \\\"}\"}"}, {"add", "{}"}}, "I will look.")},
      // The other orders and forms in which models write it.
      {kFamily, "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"add\"}</tool_call>",
       Calls({{"add", "{\"a\": 1}"}})},
      {kFamily, "<tool_call>{\"name\": \"add\"}</tool_call>", Calls({{"add", "{}"}})},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": null}</tool_call>", Calls({{"add", "{}"}})},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
       Calls({{"add", "{\"a\": 1}"}})},
      {kFamily,
       "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"add\", \"arguments\": {\"a\": {}}}}</tool_call>",
       Calls({{"add", "{\"a\": {}}"}})},
      {kFamily,
       "<tool_call>[{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"add\", \"arguments\": {\"a\": "
       "2}}]</tool_call>",
       Calls({{"add", "{}"}, {"add", "{\"a\": 2}"}})},
      {kFamily, "<tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call> done",
       Calls({{"other", "{}"}}, "done")},
  });
}

TEST(AnswerParser, MalformedCallsAreRepaired) {
  constexpr auto kFamily = ToolFamily::kHermes;
  Check({
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}</tool_call>",
       Calls({{"add", "{\"a\": 1}"}}, "", 1)},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}}</tool_call>x",
       Calls({{"add", "{\"a\": 1}"}}, "x")},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": True,}}</tool_call>",
       Calls({{"add", "{\"a\": true}"}}, "", 1)},
      {kFamily, "<tool_call>{'name': 'add', 'arguments': {'a': 'b'}}", Calls({{"add", "{\"a\": \"b\"}"}}, "", 1)},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": [1, 2",
       Calls({{"add", "{\"a\": [1, 2]}"}}, "", 1)},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": <x>}}</tool_call>",
       Calls({{"add", "{\"a\": 1, \"b\": null}"}}, "<x>}}</tool_call>", 1)},
  });
}

TEST(AnswerParser, WhatIsNoCallIsText) {
  constexpr auto kFamily = ToolFamily::kHermes;
  Check({
      {kFamily, "<tool_call>", Text("<tool_call>", 1)},
      {kFamily, "<tool_call>hello</tool_call>", Text("<tool_call>hello</tool_call>", 1)},
      {kFamily, "<tool_call>{\"a\": 1}</tool_call>", Text("<tool_call>{\"a\": 1}</tool_call>", 1)},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
       Text("<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>", 1)},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arg", Calls({{"add", "{}"}}, "", 1)},
      {kFamily, "<tool_call>{\"na", Text("<tool_call>{\"na", 1)},
      {kFamily, "<tool_call>[[1]]</tool_call>", Text("<tool_call>[[1]]</tool_call>", 1)},
      {kFamily, "<tool_call>x <tool_call>{\"name\": \"add\"}</tool_call>", Calls({{"add", "{}"}}, "<tool_call>x", 1)},
  });
}

TEST(AnswerParser, Reasoning) {
  constexpr auto kFamily = ToolFamily::kHermes;
  const auto reasoned = [](std::string reasoning, Assembled rest) {
    rest.reasoning = std::move(reasoning);
    return rest;
  };
  Check({
      {kFamily, "<think>\nHm \u2014 yes.\n</think>\n\nIt is.", reasoned("\nHm \u2014 yes.\n", Text("It is."))},
      {kFamily, "\n<think>a</think><tool_call>{\"name\": \"add\"}</tool_call>", reasoned("a", Calls({{"add", "{}"}}))},
      {kFamily, "<think>never ends </thin", reasoned("never ends </thin", Text(""))},
      {kFamily, "Text with <think>tags</think>", Text("Text with <think>tags</think>")},
      {kFamily, "<think></think>\n\n<think>x", Text("<think>x")},
  });
  AnswerParserOptions opened{kTools};
  opened.starts_in_reasoning = true;
  EXPECT_EQ(ParseAllWays(kFamily, "Hm.</think>Yes.", opened), reasoned("Hm.", Text("Yes.")));
  // Without tools only the reasoning is taken apart.
  EXPECT_EQ(ParseAllWays(kFamily, "<think>a</think>\n<tool_call>{\"name\": \"add\"}</tool_call> \n", {}),
            reasoned("a", Text("<tool_call>{\"name\": \"add\"}</tool_call> \n")));
}

TEST(AnswerParser, Llama) {
  constexpr auto kFamily = ToolFamily::kLlama3;
  Check({
      {kFamily, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}",
       Calls({{"get_weather", "{\"city\": \"Rome\"}"}})},
      {kFamily, "\n{\"type\": \"function\", \"name\": \"add\", \"parameters\": {\"a\": \"1\"}}\n",
       Calls({{"add", "{\"a\": \"1\"}"}})},
      {kFamily, "{\"name\": \"add\", \"parameters\": {}}; {\"name\": \"add\", \"parameters\": {\"a\": 2}}",
       Calls({{"add", "{}"}, {"add", "{\"a\": 2}"}})},
      {kFamily, "<|python_tag|>{\"name\": \"add\", \"parameters\": {\"a\": 1}}", Calls({{"add", "{\"a\": 1}"}})},
      {kFamily, "<|python_tag|>add.call(a=1)", Text("<|python_tag|>add.call(a=1)", 1)},
      {kFamily, "<|python_tag|>[get_weather(city='Rome', days=2), add()]",
       Calls({{"get_weather", "{\"city\": \"Rome\", \"days\": 2}"}, {"add", "{}"}})},
      {kFamily, "Sure. <function=add>{\"a\": 1}</function>", Calls({{"add", "{\"a\": 1}"}}, "Sure.")},
      // JSON that is an answer, and a function that is none of the tools.
      {kFamily, "{\"city\": \"Rome\", \"name\": \"x\"}", Text("{\"city\": \"Rome\", \"name\": \"x\"}")},
      {kFamily, "{\"name\": \"Rome\", \"parameters\": {}} is it",
       Text("{\"name\": \"Rome\", \"parameters\": {}} is it")},
      {kFamily, "[1, 2] and so on", Text("[1, 2] and so on")},
      {kFamily, "{brace", Text("{brace")},
  });
}

TEST(AnswerParser, Mistral) {
  constexpr auto kFamily = ToolFamily::kMistral;
  Check({
      {kFamily, "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}]",
       Calls({{"add", "{\"a\": 1}"}})},
      {kFamily,
       "Let me see.[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"get_weather\", \"arguments\": "
       "{\"city\": \"Rome\"}}]",
       Calls({{"add", "{}"}, {"get_weather", "{\"city\": \"Rome\"}"}}, "Let me see.")},
      {ToolFamily::kMistralNamed, "[TOOL_CALLS]add[ARGS]{\"a\": 1}[TOOL_CALLS]get_weather[ARGS]{}",
       Calls({{"add", "{\"a\": 1}"}, {"get_weather", "{}"}})},
      {ToolFamily::kMistralNamed, "[TOOL_CALLS]add[CALL_ID]123456789[ARGS]{\"a\": 1}", Calls({{"add", "{\"a\": 1}"}})},
      {ToolFamily::kMistralNamed, "[TOOL_CALLS]add[ARGS]{\"a\": [1}", Calls({{"add", "{\"a\": [1]}"}}, "", 1)},
      {kFamily, "[TOOL_CALLS]no call here", Text("[TOOL_CALLS]no call here", 1)},
  });
}

TEST(AnswerParser, DeepSeek) {
  constexpr auto kFamily = ToolFamily::kDeepSeek;
  Check({
      {kFamily,
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": "
       "\"東京\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": "
       "1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       Calls({{"get_weather", "{\"city\": \"東京\"}"}, {"add", "{\"a\": 1}"}})},
      {kFamily,
       "Yes.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": "
       "1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       Calls({{"add", "{\"a\": 1}"}}, "Yes.")},
      {kFamily, "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": {\"b\": 1<｜tool▁call▁end｜>",
       Calls({{"add", "{\"a\": {\"b\": 1}}"}}, "", 1)},
      {kFamily, "<｜tool▁call▁begin｜>what is this", Text("<｜tool▁call▁begin｜>what is this", 1)},
  });
}

TEST(AnswerParser, Gemma) {
  constexpr auto kFamily = ToolFamily::kGemma;
  Check({
      {kFamily, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rome\"}}",
       Calls({{"get_weather", "{\"city\": \"Rome\"}"}})},
      {kFamily, "```tool_code\nget_weather(city=\"Rome\", days=[1, 2])\n```",
       Calls({{"get_weather", "{\"city\": \"Rome\", \"days\": [1, 2]}"}})},
      {kFamily, "I'll add.\n```tool_code\nprint(add(a=1, b=True))\n```\nDone.",
       Calls({{"add", "{\"a\": 1, \"b\": true}"}}, "I'll add.Done.")},
      {kFamily, "```tool_code\n{\"name\": \"add\", \"parameters\": {\"a\": None}}\n```",
       Calls({{"add", "{\"a\": null}"}}, "", 1)},
      {kFamily, "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>", Calls({{"add", "{}"}})},
      {kFamily, "```tool_code\nimport os\n```", Text("```tool_code\nimport os\n```", 1)},
      {kFamily, "```python\nprint(add(a=1))\n```", Text("```python\nprint(add(a=1))\n```")},
  });
}

TEST(AnswerParser, Phi) {
  constexpr auto kFamily = ToolFamily::kPhi;
  Check({
      {kFamily, "<|tool_call|>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]<|/tool_call|>",
       Calls({{"add", "{\"a\": 1}"}})},
      {kFamily, "functools[{\"name\": \"add\", \"arguments\": {}}, {\"name\": \"add\", \"arguments\": {\"a\": 2}}]",
       Calls({{"add", "{}"}, {"add", "{\"a\": 2}"}})},
      {kFamily, "functools is a module", Text("functools is a module")},
  });
}

TEST(AnswerParser, Harmony) {
  constexpr auto kFamily = ToolFamily::kHarmony;
  Assembled reasoned = Text("It is **4**.");
  reasoned.reasoning = "2 + 2\n";
  Assembled called = Calls({{"get_weather", "{\"city\":\"Rome\"}"}}, "I look it up.");
  called.reasoning = "Need weather.";
  Check({
      {kFamily, "<|channel|>analysis<|message|>2 + 2\n<|end|><|start|>assistant<|channel|>final<|message|>It is **4**.",
       reasoned},
      {kFamily,
       "<|channel|>analysis<|message|>Need weather.<|end|><|start|>assistant<|channel|>commentary<|message|>I look it "
       "up.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
       "<|constrain|>json<|message|>{\"city\":\"Rome\"}<|call|>",
       called},
      {kFamily, " to=functions.add<|channel|>commentary json<|message|>{\"a\": 1}", Calls({{"add", "{\"a\": 1}"}})},
      {kFamily, "<|channel|>commentary to=functions.add<|message|>{\"a\": [1,}",
       Calls({{"add", "{\"a\": [1]}"}}, "", 1)},
      {kFamily, "<|channel|>commentary to=functions.add<|message|>hello", Text("hello", 1)},
      {kFamily, "A plain answer.", Text("A plain answer.")},
      {kFamily, "assist me", Text("assist me")},
      {kFamily, "<|channel|>final", Text("")},
      {kFamily, "<|channel|>final<|message|>a < b <| c", Text("a < b <| c")},
  });
}

TEST(AnswerParser, CallsOfAnswersThatWereCutOffStayUnfinished) {
  const auto cut = [](ToolFamily family, std::string_view text) {
    return Parse(family, {text}, {kTools}, AnswerParser::Ending::kCutOff);
  };
  Assembled expected = Calls({{"add", "{\"a\": [1"}}, "", 1);
  expected.num_ended = 0;
  EXPECT_EQ(cut(ToolFamily::kHermes, "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": [1,"), expected);
  EXPECT_EQ(cut(ToolFamily::kHarmony, "<|channel|>commentary to=functions.add<|message|>{\"a\": [1,"), expected);
}

TEST(AnswerParser, CallsWithoutMarkersCountWhereTheyNameATool) {
  constexpr auto kFamily = ToolFamily::kHermes;
  Check({
      {kFamily, "{\"name\": \"add\", \"arguments\": {\"a\": 1}}", Calls({{"add", "{\"a\": 1}"}})},
      {kFamily, "{\"name\": \"Ann\", \"age\": 3}", Text("{\"name\": \"Ann\", \"age\": 3}")},
      {kFamily, "Like {\"name\": \"add\"}", Text("Like {\"name\": \"add\"}")},
  });
}

TEST(AnswerParser, CallsBeyondTheLimitAreDropped) {
  AnswerParserOptions one{kTools};
  one.max_calls = 1;
  const std::string_view call = "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>";
  const std::string three = std::string(call) + std::string(call) + std::string(call);
  EXPECT_EQ(ParseAllWays(ToolFamily::kHermes, three, one), Calls({{"add", "{}"}}, "", 1));
}

TEST(AnswerParser, ArgumentsComeWhileTheyAreWritten) {
  const auto parser = MakeAnswerParser(FormatOf(ToolFamily::kHermes), {kTools});
  (void)parser->Append("<tool_call>{\"name\": \"add\", \"arguments\": {");
  const AnswerParts parts = parser->Append("\"a\": \"long te");
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0], (AnswerPart{Kind::kCallArguments, 0, "\"a\": \"long te"}));
}

}  // namespace
}  // namespace lem
