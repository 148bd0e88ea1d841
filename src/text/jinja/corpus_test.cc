// Checks the interpreter against what the reference implementation said (tools/make_jinja_corpus.py), byte for byte.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "text/chat_template.h"

namespace lem {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(LEM_SOURCE_DIR) / "tests/data/jinja";
// What transformers raises for raise_exception: the words after this are the template's own.
constexpr std::string_view kRaised = "TemplateError: ";

std::string ReadText(const std::filesystem::path& path) {
  Result<std::string> text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << text.status().ToString();
  return text.ok() ? *text : std::string();
}

JsonObject ReadObject(const char* name) {
  Result<JsonValue> value = ParseJson(ReadText(kFolder / name));
  EXPECT_TRUE(value.ok()) << name << ": " << value.status().ToString();
  return value.ok() ? value->as_object() : JsonObject();
}

std::string Text(const JsonValue& value) { return std::string(value.as_string()); }

ChatMessage MakeMessage(const JsonObject& json) {
  ChatMessage message;
  for (const auto& member : json) {
    if (member.key() == "role") {
      message.role = Text(member.value());
    } else if (member.key() == "content" && member.value().is_string()) {
      message.content = Text(member.value());
    } else {
      message.extra[member.key()] = member.value();
    }
  }
  return message;
}

// The members of a corpus line that are inputs; later calls overrule earlier ones.
void AddInputs(const JsonObject& json, const JsonObject& conversations, ChatTemplateInputs& inputs) {
  if (const JsonValue* messages = json.if_contains("messages")) {
    for (const JsonValue& message : messages->as_array()) inputs.messages.push_back(MakeMessage(message.as_object()));
  }
  if (const JsonValue* tools = json.if_contains("tools")) {
    for (const JsonValue& tool : tools->as_array()) {
      inputs.tools.push_back(tool.is_string() ? conversations.at(tool.as_string()) : tool);
    }
  }
  if (const JsonValue* extra = json.if_contains("extra")) {
    for (const auto& member : extra->as_object()) inputs.extra[member.key()] = member.value();
  }
  if (const JsonValue* prompt = json.if_contains("add_generation_prompt")) {
    inputs.add_generation_prompt = prompt->as_bool();
  }
  if (const JsonValue* bos = json.if_contains("bos_token")) inputs.bos_token = Text(*bos);
  if (const JsonValue* eos = json.if_contains("eos_token")) inputs.eos_token = Text(*eos);
  if (const JsonValue* now = json.if_contains("unix_time_s")) inputs.unix_time_s = now->as_int64();
}

void CheckCase(const JsonObject& json, const JsonObject& context, const JsonObject& conversations) {
  const JsonValue* file = json.if_contains("template_file");
  const std::string source = file != nullptr ? ReadText(kFolder / Text(*file)) : Text(json.at("template"));
  ChatTemplateInputs inputs;
  inputs.unix_time_s = 1;
  if (json.contains("context")) inputs.extra = context;
  if (const JsonValue* name = json.if_contains("conversation")) {
    AddInputs(conversations.at(name->as_string()).as_object(), conversations, inputs);
  }
  AddInputs(json, conversations, inputs);

  const auto chat_template = ChatTemplate::Create(source, Adaptation::kNone);
  Result<std::string> rendered =
      chat_template.ok() ? (*chat_template)->Render(inputs) : Result<std::string>(chat_template.status());
  const JsonValue* expected = json.if_contains("expected");
  if (expected == nullptr) {
    const std::string error = Text(json.at("error"));
    EXPECT_FALSE(rendered.ok()) << "the reference says " << error << ", we render " << *rendered;
    if (!rendered.ok() && error.starts_with(kRaised)) {
      EXPECT_EQ(rendered.status().message(), error.substr(kRaised.size()));
    }
    return;
  }
  ASSERT_TRUE(rendered.ok()) << rendered.status().ToString();
  EXPECT_EQ(*rendered, Text(*expected));
  const auto spans = (*chat_template)->RenderSpans(inputs);
  ASSERT_TRUE(spans.ok());
  std::string joined;
  for (const RenderedSpan& span : *spans) joined += span.text;
  EXPECT_EQ(joined, *rendered);

  // Adapting changes nothing for a template that takes what it gets: of these, all but two.
  const std::string name = file != nullptr ? Text(*file) : std::string();
  if (name == "templates/parts_style.jinja" || name == "templates/deepseek_style.jinja") return;
  EXPECT_EQ(*(*ChatTemplate::Create(source, Adaptation::kProbe))->Render(inputs), Text(*expected));
}

class JinjaCorpusTest : public testing::TestWithParam<const char*> {};

TEST_P(JinjaCorpusTest, EqualsTheReference) {
  setenv("TZ", "UTC", 1);  // strftime_now shows local time
  tzset();
  const JsonObject context = ReadObject("context.json");
  const JsonObject conversations = ReadObject("conversations.json");
  const std::string corpus = ReadText(kFolder / GetParam());
  int line = 0;
  for (size_t begin = 0; begin < corpus.size();) {
    const size_t end = std::min(corpus.find('\n', begin), corpus.size());
    SCOPED_TRACE(std::string(GetParam()) + ":" + std::to_string(++line));
    const auto json = ParseJson(std::string_view(corpus).substr(begin, end - begin));
    ASSERT_TRUE(json.ok()) << json.status().ToString();
    CheckCase(json->as_object(), context, conversations);
    begin = end + 1;
  }
  EXPECT_GT(line, 100);
}

INSTANTIATE_TEST_SUITE_P(All, JinjaCorpusTest, testing::Values("features.jsonl", "random.jsonl", "templates.jsonl"));

}  // namespace
}  // namespace lem
