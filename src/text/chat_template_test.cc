#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"

namespace lem {
namespace {

const std::filesystem::path kSource = LEM_SOURCE_DIR;

ChatTemplateInputs Ask(std::string content) {
  ChatTemplateInputs inputs;
  inputs.messages.push_back({"user", std::move(content), {}});
  inputs.unix_time_s = 1;
  return inputs;
}

Result<std::string> Render(std::string_view source, const ChatTemplateInputs& inputs = Ask("hi")) {
  LEM_ASSIGN_OR_RETURN(const auto chat_template, ChatTemplate::Create(source));
  return chat_template->Render(inputs);
}

// The spans with the caller's text in brackets.
std::string Marked(std::string_view source, const ChatTemplateInputs& inputs,
                   Adaptation adaptation = Adaptation::kProbe) {
  const auto chat_template = ChatTemplate::Create(source, adaptation);
  if (!chat_template.ok()) return chat_template.status().ToString();
  const auto spans = (*chat_template)->RenderSpans(inputs);
  if (!spans.ok()) return spans.status().ToString();
  std::string out;
  for (const RenderedSpan& span : *spans) out += span.trusted ? span.text : "[" + span.text + "]";
  return out;
}

ChatTemplateInputs InputsOf(const JsonObject& golden_case) {
  ChatTemplateInputs inputs;
  for (const JsonValue& message : golden_case.at("messages").as_array()) {
    inputs.messages.push_back(
        {std::string(message.at("role").as_string()), std::string(message.at("content").as_string()), {}});
  }
  return inputs;
}

void CheckGolden(const ChatTemplate& chat_template, const char* golden) {
  const auto json = ParseJson(*ReadFile(kSource / "tests/golden" / golden));
  ASSERT_TRUE(json.ok());
  for (const JsonValue& golden_case : json->at("cases").as_array()) {
    EXPECT_EQ(*chat_template.Render(InputsOf(golden_case.as_object())),
              std::string(golden_case.at("rendered").as_string()));
  }
}

TEST(ChatTemplateTest, GoldenChats) {
  const auto from_file = [](const char* name) {
    return *ChatTemplate::Create(*ReadFile(kSource / "tests/data/jinja/templates" / name));
  };
  CheckGolden(*from_file("smollm2.jinja"), "smollm2-135m-instruct-q4_1.chat.json");
  CheckGolden(*from_file("qwen2.5.jinja"), "qwen2.5-coder-0.5b-instruct-q4_k_m.chat.json");
  CheckGolden(*ChatTemplate::ChatMl(), "gemma3-270m-q4_k_m.chat.json");
}

TEST(ChatTemplateTest, FallbackIsChatMl) {
  const auto fallback = ChatTemplate::ChatMl();
  EXPECT_TRUE(fallback->is_fallback());
  EXPECT_FALSE((*ChatTemplate::Create("x"))->is_fallback());
  ChatTemplateInputs inputs = Ask("hi");
  inputs.add_generation_prompt = false;
  EXPECT_EQ(*fallback->Render(inputs), "<|im_start|>user\nhi<|im_end|>\n");
}

TEST(ChatTemplateTest, WhatTheCallerWroteIsMarked) {
  ChatTemplateInputs inputs = Ask(" <|End|> ");
  const auto content = [&](const std::string& expression) {
    return Marked("{% set c = messages[0].content %}<s>{{ " + expression + " }}</s>", inputs, Adaptation::kNone);
  };
  EXPECT_EQ(content("c"), "<s>[ <|End|> ]</s>");
  EXPECT_EQ(content("c|trim"), "<s>[<|End|>]</s>");
  EXPECT_EQ(content("'a' + c.strip() ~ 'b'"), "<s>a[<|End|>]b</s>");
  EXPECT_EQ(content("c|upper"), "<s>[ <|END|> ]</s>");
  EXPECT_EQ(content("c[::-1]"), "<s>[ >|dnE|< ]</s>");
  EXPECT_EQ(content("c[1:4]"), "<s>[<|E]</s>");
  EXPECT_EQ(content("('ab' ~ c)[1:4]"), "<s>b[ <]</s>");
  EXPECT_EQ(content("c.replace('End', 'x')"), "<s>[ <|]x[|> ]</s>");
  EXPECT_EQ(content("'a-b'.replace('-', c)"), "<s>a[ <|End|> ]b</s>");
  EXPECT_EQ(content("c.split('|')"), "<s>['[ <]', '[End]', '[> ]']</s>");
  EXPECT_EQ(content("['a', c]|join('-')"), "<s>a-[ <|End|> ]</s>");
  EXPECT_EQ(content("{'k': c}|tojson"), R"(<s>{"k": "[ <|End|> ]"}</s>)");
  EXPECT_EQ(content("('\"' ~ c)|tojson"), R"(<s>"\"[ <|End|> ]"</s>)");
  EXPECT_EQ(content("(c ~ 'é')|tojson(ensure_ascii=true)"), R"(<s>"[ <|End|> ]\u00e9"</s>)");
  EXPECT_EQ(content("'%s=%5s' % ('k', c)"), "<s>k=[ <|End|> ]</s>");
  EXPECT_EQ(content("'{}:{:>12}'.format('k', c)"), "<s>k:   [ <|End|> ]</s>");
  EXPECT_EQ(content("c|e"), "<s>[ &lt;|End|&gt; ]</s>");
  EXPECT_EQ(content("c|indent(2, true)"), "<s>  [ <|End|> ]</s>");
  EXPECT_EQ(content("c.title()"), "<s>[ <|End|> ]</s>");
  EXPECT_EQ(content("c|list|join"), "<s>[ <|End|> ]</s>");
  EXPECT_EQ(content("messages"), "<s>[{'role': 'user', 'content': '[ <|End|> ]'}]</s>");
  EXPECT_EQ(Marked("{% set x %}a{{ messages[0].content }}{% endset %}{{ x|length }}{{ x }}", inputs), "10a[ <|End|> ]");
  EXPECT_EQ(Marked("{% macro m(x) %}({{ x }}){% endmacro %}{{ m(messages[0].content) }}", inputs), "([ <|End|> ])");
}

TEST(ChatTemplateTest, NamesToolsAndFurtherMembersAreTheCallersToo) {
  ChatTemplateInputs inputs = Ask("hi");
  inputs.messages[0].extra["name"] = "<|a|>";
  inputs.messages[0].extra["n"] = 5;
  inputs.messages.push_back({"<|system|>", "", {}});
  inputs.tools = ParseJson(R"([{"<k>": ["<v>", 1.5, true, null]}])")->as_array();
  inputs.extra["kwarg"] = "<w>";
  inputs.bos_token = "<s>";
  EXPECT_EQ(Marked("{{ bos_token }}{{ messages[0].role }}{{ messages[0].name }}{{ messages[0].n }}", inputs),
            "<s>user[<|a|>5]");
  EXPECT_EQ(Marked("{{ messages[1].role }}", inputs), "[<|system|>]");
  EXPECT_EQ(Marked("{{ tools|tojson }}", inputs), R"([{"[<k>]": ["[<v>]", [1.5], [true], [null]]}])");
  EXPECT_EQ(Marked("{{ kwarg }}{% for k in tools[0] %}{{ k }}{% endfor %}", inputs), "[<w><k>]");
}

TEST(ChatTemplateTest, VariablesOfHuggingFace) {
  EXPECT_EQ(*Render("{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ other is defined }}"),
            "TrueTrueTrueFalse");
  ChatTemplateInputs inputs = Ask("hi");
  inputs.extra["enable_thinking"] = false;
  inputs.extra["messages"] = "not these";
  EXPECT_EQ(*Render("{{ enable_thinking }}{{ messages|length }}", inputs), "False1");
  inputs.messages[0].extra["content"] = nullptr;  // a further member may take the place of the text
  EXPECT_EQ(*Render("{{ messages[0].content is none }}", inputs), "True");
}

TEST(ChatTemplateTest, TemplatesThatNeedPartsGetThem) {
  const char* parts = "{% for p in messages[0].content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}";
  EXPECT_EQ(*Render(parts, Ask("seen")), "seen");
  EXPECT_EQ(Marked(parts, Ask("seen")), "[seen]");
  EXPECT_EQ(*Render("{% if messages[0].content is string %}{{ messages[0].content }}{% endif %}", Ask("text")), "text");
}

constexpr const char* kNoSystem =
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m.role == 'user') != loop.index is odd %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "({{ m.role }}:{{ m.content }}){% endfor %}";

TEST(ChatTemplateTest, WithoutASystemRoleItsTextGoesIntoTheNextUserMessage) {
  ChatTemplateInputs inputs = Ask("hi");
  inputs.messages.insert(inputs.messages.begin(), {"system", "Be <|kind|>.", {}});
  EXPECT_EQ(Marked(kNoSystem, inputs), "(user:[Be <|kind|>.]\n[hi])");
  EXPECT_EQ(*Render("{% for m in messages %}({{ m.role }}:{{ m.content }}){% endfor %}", inputs),
            "(system:Be <|kind|>.)(user:hi)");
  inputs.messages.push_back({"system", "b", {}});
  inputs.messages.push_back({"system", "c", {}});
  inputs.messages.push_back({"assistant", "d", {}});
  inputs.messages.push_back({"user", "e", {}});
  EXPECT_EQ(*Render(kNoSystem, inputs), "(user:Be <|kind|>.\nhi)(assistant:d)(user:b\nc\ne)");
  EXPECT_EQ((*ChatTemplate::Create(kNoSystem, Adaptation::kNone))->Render(inputs).status().ToString(),
            "invalid_argument: System role not supported");
}

TEST(ChatTemplateTest, ASystemMessageThatNoUserMessageFollowsIsTheTemplatesToRefuse) {
  ChatTemplateInputs inputs = Ask("hi");
  inputs.messages.push_back({"system", "b", {}});
  EXPECT_EQ(Render(kNoSystem, inputs).status().ToString(), "invalid_argument: System role not supported");
}

TEST(ChatTemplateTest, PartsAndNoSystemRoleTogether) {
  const char* source =
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
      "({{ m.role }}:{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}){% endfor %}";
  ChatTemplateInputs inputs = Ask("hi");
  inputs.messages.insert(inputs.messages.begin(), {"system", "s", {}});
  EXPECT_EQ(Marked(source, inputs), "(user:[s]\n[hi])");
}

ChatTemplateInputs AskWithCall() {
  ChatTemplateInputs inputs = Ask("hi");
  inputs.messages.push_back({"assistant", "", {}});
  inputs.messages[1].extra["tool_calls"] =
      ParseJson(R"([{"function": {"name": "f", "arguments": {"x": [1, "é"]}}}])").value();
  return inputs;
}

TEST(ChatTemplateTest, ArgumentsOfCallsAreTextWhereTheTemplateReadsText) {
  const auto with = [](const std::string& show) {
    return "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ " + show +
           " }}{% endfor %}{% endfor %}";
  };
  EXPECT_EQ(*Render(with("c.function.arguments + '!'"), AskWithCall()), "hi{\"x\": [1, \"é\"]}!");
  EXPECT_EQ(*Render(with("c.function.arguments"), AskWithCall()), "hi{\"x\": [1, \"é\"]}");
  EXPECT_EQ(*Render(with("c.function.arguments|tojson"), AskWithCall()), "hi{\"x\": [1, \"é\"]}");
  EXPECT_EQ(*Render(with("c.function.arguments.x[1]"), AskWithCall()), "hié");
  EXPECT_EQ(Marked(with("c.function.arguments + '!'"), AskWithCall()), "[hi]{\"[x]\": [[1], \"[é]\"]}!");
  // What is no object stays as it is.
  ChatTemplateInputs inputs = AskWithCall();
  inputs.messages[1].extra["tool_calls"] =
      ParseJson(R"([{"function": {"arguments": "{"}}, {"function": {"arguments": [1]}}])").value();
  EXPECT_EQ(*Render(with("c.function.arguments"), inputs), "hi{[1]");
}

TEST(ChatTemplateTest, CallsThatAreShownOnlyBesideNullAreShown) {
  const char* source =
      "{% for m in messages %}{% if m.content is none %}{% for c in m.tool_calls %}[{{ c.function.arguments|tojson }}]"
      "{% endfor %}{% else %}({{ m.content }}){% endif %}{% endfor %}";
  ChatTemplateInputs inputs = AskWithCall();
  EXPECT_EQ(*Render(source, inputs), "(hi)[{\"x\": [1, \"é\"]}]");
  inputs.messages[1].content = "text";
  EXPECT_EQ(*Render(source, inputs), "(hi)(text)");
}

TEST(ChatTemplateTest, ErrorsSayWhereAndWhy) {
  const auto error = [](std::string_view source) { return Render(source).status().ToString(); };
  EXPECT_EQ(error("a\n{% if %}"), "invalid_argument: chat template, line 2: expected an expression, found '%}'");
  EXPECT_EQ(error("{% for x in y %}\n\n"),
            "invalid_argument: chat template, line 2: {% for %} of line 1 is not closed: expected {% endfor %}");
  EXPECT_EQ(error("a\n\n{{ x.y }}"), "invalid_argument: chat template, line 3: 'x' is undefined");
  EXPECT_EQ(error("{{ messages[0].nope.more }}"),
            "invalid_argument: chat template, line 1: 'dict object' has no attribute 'nope'");
  EXPECT_EQ(error("\n{{ 'a' + 1 }}"),
            "invalid_argument: chat template, line 2: can only concatenate str (not \"int\") to str");
  EXPECT_EQ(error("{{ x|nosuch }}"), "invalid_argument: chat template, line 1: no filter named 'nosuch'");
  EXPECT_EQ(
      error("{% include 'x' %}"),
      "invalid_argument: chat template, line 1: the tag 'include' is not supported: a chat template stands alone");
  EXPECT_EQ(error("{% macro m() %}\n{{ raise_exception('Only users: ' ~ 1) }}{% endmacro %}{{ m() }}"),
            "invalid_argument: Only users: 1");
  EXPECT_EQ(error("\xff"), "invalid_argument: chat template is not valid UTF-8");
}

TEST(ChatTemplateTest, NothingBeyondTheTablesCanBeReached) {
  for (const char* expression :
       {"''.__class__", "messages.__class__", "range.__globals__", "messages[0]['__class__']", "''|attr('__class__')",
        "messages[0].__init__", "self", "lipsum", "joiner.__init__", "namespace.__init__", "x.__subclasses__"}) {
    const auto out = Render(std::string("{{ ") + expression + " }}");
    EXPECT_TRUE(!out.ok() || out->empty()) << expression << ": " << *out;
  }
  EXPECT_FALSE(Render("{{ ''.__class__.__mro__ }}").ok());
  EXPECT_FALSE(Render("{{ messages.pop() }}").ok());
  EXPECT_FALSE(Render("{{ messages[0].update({}) }}").ok());
  EXPECT_FALSE(Render("{% set messages[0].role = 'x' %}").ok());
}

TEST(ChatTemplateTest, ListAppendIsAllowed) {
  EXPECT_EQ(*Render("{% set x = [] %}{% for i in range(3) %}{% set _ = x.append(i) %}{% endfor %}{{ x }}"),
            "[0, 1, 2]");
}

std::string Repeat(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

// Ends with the code, within the second that the server allows.
void ExpectEnds(StatusCode code, const std::string& source) {
  const auto start = std::chrono::steady_clock::now();
  const auto out = Render(source);
  const std::string shown = source.substr(0, 100);
  EXPECT_EQ(out.status().code(), code) << shown << " gives " << out.status().ToString();
  // Generous, because sanitizers and a loaded machine slow everything down.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << shown;
}

TEST(ChatTemplateBudgetTest, RunawayTemplatesEnd) {
  const auto exhausts = [](const std::string& source) { ExpectEnds(StatusCode::kResourceExhausted, source); };
  exhausts("{% for i in range(10**9) %}x{% endfor %}");
  exhausts("{{ range(9007199254740993) }}");
  exhausts("{{ 'a' * 10**10 }}");
  exhausts("{{ [1] * 10**10 }}");
  exhausts("{{ 'a'.center(10**12) }}{{ 'a'|indent(10**12) }}");
  exhausts("{{ '%1000000000d' % 1 }}");
  exhausts("{{ '{:1000000000}'.format(1) }}");
  exhausts("{{ [1]|tojson(indent=10**10) }}");
  exhausts("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  exhausts("{% macro m(x) %}{{ m(x) ~ m(x) }}{% endmacro %}{{ m(1) }}");
  exhausts("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}");
  exhausts("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
  exhausts("{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}");
  exhausts("{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}");
  exhausts("{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}");
  exhausts("{% set s = 'a' * 8000000 %}{% for i in range(99999) %}{% if 'b' in s %}{% endif %}{% endfor %}");
  exhausts("{% set s = (messages[0].content ~ 'a') * 400000 %}{% for i in range(999) %}{{ s.upper() }}{% endfor %}");
}

TEST(ChatTemplateBudgetTest, NestedValuesEnd) {
  const std::string nest =
      "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(9999) %}"
      "{% set ns.a = [ns.a] %}{% set ns.b = [ns.b] %}{% endfor %}";
  for (const char* use : {"{{ ns.a }}", "{{ ns.a|tojson }}", "{{ ns.a == ns.b }}", "{{ ns.a < ns.b }}"}) {
    ExpectEnds(StatusCode::kResourceExhausted, nest + use);
  }
  const std::string share =
      "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(99) %}"
      "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}";
  for (const char* use : {"{{ ns.a }}", "{{ ns.a|tojson|length }}", "{{ ns.a == ns.b }}"}) {
    ExpectEnds(StatusCode::kResourceExhausted, share + use);
  }
  const std::string cycle = "{% set l = [] %}{% set k = [] %}{% set _ = l.append(l), k.append(k) %}";
  for (const char* use : {"{{ l }}", "{{ l|tojson }}", "{{ l == k }}", "{{ l < k }}", "{{ [l]|unique|list }}"}) {
    EXPECT_FALSE(Render(cycle + use).ok()) << use;
  }
}

TEST(ChatTemplateBudgetTest, DeepSourceIsRefused) {
  constexpr size_t kMany = 100'000;
  const std::pair<const char*, const char*> nestings[] = {{"(", ")"}, {"[", "]"},  {"{'a':", "}"},       {"not ", ""},
                                                          {"-", ""},  {"f(", ")"}, {"1 if 0 else ", ""}, {"a[", "]"}};
  for (const auto& [open, close] : nestings) {
    ExpectEnds(StatusCode::kInvalidArgument, "{{ " + Repeat(open, kMany) + "1" + Repeat(close, kMany) + " }}");
  }
  for (const char* chain : {".b", "|e", "()", " is odd", " if 1"}) {
    ExpectEnds(StatusCode::kInvalidArgument, "{{ a" + Repeat(chain, kMany) + " }}");
  }
  ExpectEnds(StatusCode::kInvalidArgument, Repeat("{% if 1 %}", kMany / 2) + Repeat("{% endif %}", kMany / 2));
  ExpectEnds(StatusCode::kInvalidArgument, "{% set " + Repeat("(", kMany) + "a" + Repeat(")", kMany) + " = 1 %}");
  ExpectEnds(StatusCode::kInvalidArgument, std::string(size_t{2} << 20, 'x'));
  // Flat chains are no nesting.
  EXPECT_EQ(*Render("{{ 1" + Repeat("+1", kMany) + " }}"), "100001");
  EXPECT_EQ(*Render("{{ 1" + Repeat(" and 1", kMany) + " }}"), "1");
}

TEST(ChatTemplateBudgetTest, ArithmeticNeverWraps) {
  EXPECT_FALSE(Render("{{ 2 ** 10 ** 10 }}").ok());
  EXPECT_FALSE(Render("{{ 9223372036854775807 + 1 }}").ok());
  EXPECT_FALSE(Render("{{ -9223372036854775807 * 3 }}").ok());
  EXPECT_FALSE(Render("{{ (-9223372036854775807 - 1) // -1 }}").ok());
  EXPECT_FALSE(Render("{{ (-9223372036854775807 - 1)|abs }}").ok());
  EXPECT_EQ(*Render("{{ (-9223372036854775807 - 1) % -1 }}"), "0");
  EXPECT_EQ(*Render("{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}"), "a");
  EXPECT_EQ(*Render("{{ [1, 2, 3][::-9223372036854775807 - 1] }}"), "[3]");
  ChatTemplateInputs inputs = Ask("hi");
  inputs.extra["big"] = uint64_t{18446744073709551615u};
  EXPECT_EQ(*Render("{{ big }}{{ [big]|tojson }}{{ big > 1 }}", inputs),
            "18446744073709551615[18446744073709551615]True");
  EXPECT_FALSE(Render("{{ big + 1 }}", inputs).ok());
}

TEST(ChatTemplateBudgetTest, ALongChatFits) {
  ChatTemplateInputs inputs;
  for (int i = 0; i < 2000; ++i) {
    inputs.messages.push_back({i % 2 == 0 ? "user" : "assistant", std::string(1000, 'x'), {}});
  }
  for (const char* name : {"qwen2.5.jinja", "qwen3_style.jinja", "mistral_style.jinja", "channels_style.jinja"}) {
    const auto chat_template = ChatTemplate::Create(*ReadFile(kSource / "tests/data/jinja/templates" / name));
    const auto out = (*chat_template)->Render(inputs);
    ASSERT_TRUE(out.ok()) << name << ": " << out.status().ToString();
    EXPECT_GT(out->size(), 2'000'000u);
  }
}

}  // namespace
}  // namespace lem
