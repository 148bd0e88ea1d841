#include "text/chat_template.h"

#include <algorithm>
#include <ctime>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "text/jinja/from_json.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"

namespace lem {
namespace {

using jinja::Dict;
using jinja::Heap;
using jinja::Kind;
using jinja::List;
using jinja::Value;

constexpr std::string_view kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Roles that templates know by name. Any other role is the caller's own text.
constexpr std::string_view kKnownRoles[] = {"system",    "user",     "assistant", "tool",
                                            "developer", "function", "ipython",   "model"};

// Templates differ in what they can take. What one can not is put into a form that it can, because the client cannot
// know; found by rendering probes, once.
struct TemplateTraits {
  bool content_as_parts = false;    // wants [{"type": "text", "text": ...}] and drops a string in silence
  bool no_system_role = false;      // a system message goes before the text of the user message after it
  bool arguments_as_text = false;   // wants the arguments of a call as JSON text, not as an object
  bool calls_without_text = false;  // shows calls only in a message whose content is null
};

std::string_view View(boost::json::string_view text) { return {text.data(), text.size()}; }

Value Literal(Heap& heap, std::string_view text) { return Value::String(jinja::TrustedStr(heap, text)); }

// The values that a template sees for the messages of a request.
class MessageValues {
 public:
  MessageValues(Heap& heap, const TemplateTraits& traits) : heap_(heap), traits_(traits) {}

  Value Convert(std::span<const ChatMessage> messages) {
    List* out = jinja::NewList(heap_);
    size_t last_user = messages.size();
    while (last_user > 0 && messages[last_user - 1].role != "user") --last_user;
    Messages systems;  // that wait for a user message
    for (size_t i = 0; i < messages.size(); ++i) {
      const ChatMessage& message = messages[i];
      if (traits_.no_system_role && message.role == "system" && i < last_user) {
        systems.push_back(&message);
        continue;
      }
      Messages before;
      if (message.role == "user") before.swap(systems);
      out->Push(heap_, Message(message, before));
    }
    return Value::Of(Kind::kList, out);
  }

 private:
  using Messages = std::vector<const ChatMessage*>;

  Value Message(const ChatMessage& message, const Messages& systems_before) {
    auto* out = heap_.New<Dict>();
    const bool known = std::ranges::find(kKnownRoles, message.role) != std::end(kKnownRoles);
    out->Push(heap_, Literal(heap_, "role"), known ? Literal(heap_, message.role) : Tainted(message.role));
    out->Push(heap_, Literal(heap_, "content"), Content(message, systems_before));
    for (const auto& member : message.extra) {
      const std::string_view name = View(member.key());
      Value value = jinja::FromJson(heap_, member.value());
      if (name == "tool_calls" && traits_.arguments_as_text) WriteArguments(value);
      out->Set(heap_, Tainted(name), value);
    }
    return Value::Of(Kind::kDict, out);
  }

  Value Tainted(std::string_view text) { return Value::String(jinja::TaintedStr(heap_, text)); }

  Value Content(const ChatMessage& message, const Messages& systems_before) {
    if (traits_.calls_without_text && message.content.empty() && message.extra.contains("tool_calls")) {
      return Value::None();
    }
    Value text = Tainted(message.content);
    if (!systems_before.empty()) {
      jinja::TextBuilder joined(heap_);
      for (const ChatMessage* system : systems_before) {
        joined.Append(system->content, true);
        joined.AppendTrusted("\n");
      }
      joined.Append(message.content, true);
      text = joined.Finish();
    }
    if (!traits_.content_as_parts) return text;
    auto* part = heap_.New<Dict>();
    part->Push(heap_, Literal(heap_, "type"), Literal(heap_, "text"));
    part->Push(heap_, Literal(heap_, "text"), text);
    List* parts = jinja::NewList(heap_);
    parts->Push(heap_, Value::Of(Kind::kDict, part));
    return Value::Of(Kind::kList, parts);
  }

  // Replaces each call's arguments, if they are an object, by their JSON.
  void WriteArguments(const Value& calls) {
    if (calls.kind() != Kind::kList) return;
    for (const Value& call : calls.list()->span()) {
      if (call.kind() != Kind::kDict) continue;
      const Value* function = call.dict()->Find(heap_, "function");
      if (function == nullptr || function->kind() != Kind::kDict) continue;
      const Value* arguments = function->dict()->Find(heap_, "arguments");
      if (arguments == nullptr || arguments->kind() != Kind::kDict) continue;
      jinja::TextBuilder text(heap_);
      // Values that came from JSON are JSON; a depth beyond the limit shows in the heap's budget.
      if (!jinja::PrintJson(text, *arguments, {}).ok()) continue;
      function->dict()->Set(heap_, Literal(heap_, "arguments"), text.Finish());
    }
  }

  Heap& heap_;
  const TemplateTraits& traits_;
};

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(std::string_view text, std::unique_ptr<jinja::Template> source, bool is_fallback)
      : text_(text), source_(std::move(source)), is_fallback_(is_fallback) {}

  void FindTraits();

  Result<std::string> Render(const ChatTemplateInputs& inputs) const override {
    return RenderWithin(jinja::RenderLimits(), inputs);
  }

  Result<std::vector<RenderedSpan>> RenderSpans(const ChatTemplateInputs& inputs) const override {
    jinja::Interpreter interpreter(*source_, jinja::RenderLimits(), Now(inputs));
    jinja::TextBuilder out(interpreter.heap(), interpreter.heap().limits().max_output_bytes);
    LEM_TRY(RenderTo(interpreter, out, inputs));
    std::vector<RenderedSpan> spans;
    size_t pos = 0;
    const auto cut = [&](size_t end, bool trusted) {
      if (end > pos) spans.push_back({out.text().substr(pos, end - pos), trusted});
      pos = end;
    };
    for (const jinja::TaintSpan& span : out.taint()) {
      cut(span.begin, true);
      cut(span.end, false);
    }
    cut(out.size(), true);
    return spans;
  }

  bool is_fallback() const override { return is_fallback_; }
  std::string_view source() const override { return text_; }
  ToolSupport tool_support() const override { return tool_support_; }

 private:
  static int64_t Now(const ChatTemplateInputs& inputs) {
    return inputs.unix_time_s != 0 ? inputs.unix_time_s : static_cast<int64_t>(std::time(nullptr));
  }

  Result<std::string> RenderWithin(const jinja::RenderLimits& limits, const ChatTemplateInputs& inputs) const {
    jinja::Interpreter interpreter(*source_, limits, Now(inputs));
    jinja::TextBuilder out(interpreter.heap(), limits.max_output_bytes);
    LEM_TRY(RenderTo(interpreter, out, inputs));
    return out.text();
  }

  // Defines the variables that Hugging Face's apply_chat_template defines, and renders.
  Status RenderTo(jinja::Interpreter& interpreter, jinja::TextBuilder& out, const ChatTemplateInputs& inputs) const {
    Heap& heap = interpreter.heap();
    interpreter.SetVariable("documents", Value::None());
    for (const auto& member : inputs.extra) {
      interpreter.SetVariable(View(member.key()), jinja::FromJson(heap, member.value()));
    }
    interpreter.SetVariable("messages", MessageValues(heap, traits_).Convert(inputs.messages));
    List* tools = jinja::NewList(heap);
    for (const JsonValue& tool : inputs.tools) tools->Push(heap, jinja::FromJson(heap, tool));
    interpreter.SetVariable("tools", inputs.tools.empty() ? Value::None() : Value::Of(Kind::kList, tools));
    interpreter.SetVariable("add_generation_prompt", Value::Bool(inputs.add_generation_prompt));
    interpreter.SetVariable("bos_token", Literal(heap, inputs.bos_token));
    interpreter.SetVariable("eos_token", Literal(heap, inputs.eos_token));
    return interpreter.Run(out);
  }

  // Whether the conversation with these tools shows `mark`.
  bool Shows(std::vector<ChatMessage> messages, std::string_view mark, JsonArray tools = {}) const;
  void FindCallTraits();
  void FindToolSupport();

  std::string text_;
  std::unique_ptr<jinja::Template> source_;
  bool is_fallback_;
  TemplateTraits traits_;
  ToolSupport tool_support_;
};

// Each probe holds a mark that no template contains; a template can take what it shows.
constexpr const char* kMark = "lemonade-probe";

bool JinjaChatTemplate::Shows(std::vector<ChatMessage> messages, std::string_view mark, JsonArray tools) const {
  ChatTemplateInputs inputs;
  inputs.messages = std::move(messages);
  inputs.tools = std::move(tools);
  inputs.unix_time_s = 1;
  // A real template takes well below a millisecond for two short messages.
  jinja::RenderLimits limits;
  limits.max_cpu_time_ns = 50'000'000;
  const Result<std::string> out = RenderWithin(limits, inputs);
  return out.ok() && out->find(mark) != std::string::npos;
}

std::vector<ChatMessage> ProbeOfCall(JsonValue arguments) {
  ChatMessage answer{"assistant", "", {}};
  JsonObject function = {{"name", "f"}, {"arguments", std::move(arguments)}};
  // Nine characters: some templates check the length.
  const JsonObject call = {{"id", "call00001"}, {"type", "function"}, {"function", std::move(function)}};
  answer.extra["tool_calls"] = JsonArray({JsonValue(call)});
  return {ChatMessage{"user", "q", {}}, std::move(answer)};
}

void JinjaChatTemplate::FindTraits() {
  const ChatMessage question{"user", "q", {}};
  const ChatMessage marked{"user", kMark, {}};
  const ChatMessage marked_system{"system", kMark, {}};
  if (!Shows({marked}, kMark)) {
    traits_.content_as_parts = true;
    traits_.content_as_parts = Shows({marked}, kMark);
    // A template that shows no message at all has nothing to be adapted to.
    if (!traits_.content_as_parts) return;
  }
  if (!Shows({marked_system, question}, kMark)) {
    traits_.no_system_role = true;
    traits_.no_system_role = Shows({marked_system, question}, kMark);
  }
  FindCallTraits();
  FindToolSupport();
}

void JinjaChatTemplate::FindCallTraits() {
  constexpr const char* kMarkJson = R"({"k": "lemonade-probe"})";
  constexpr const char* kMarkRepr = "{'k': 'lemonade-probe'}";
  const std::vector<ChatMessage> with_object = ProbeOfCall(JsonObject({{"k", kMark}}));
  const std::vector<ChatMessage> with_text = ProbeOfCall(JsonValue(kMarkJson));
  for (const bool without_text : {false, true}) {
    traits_.calls_without_text = without_text;
    if (Shows(with_object, kMark) && !Shows(with_object, kMarkRepr)) return;
    traits_.arguments_as_text = Shows(with_text, kMarkJson);
    if (traits_.arguments_as_text) return;
  }
  traits_.calls_without_text = false;
}

void JinjaChatTemplate::FindToolSupport() {
  const JsonObject parameters = {{"type", "object"}, {"properties", JsonObject()}};
  const JsonObject function = {{"name", kMark}, {"description", "d"}, {"parameters", parameters}};
  const JsonArray tools = {JsonObject({{"type", "function"}, {"function", function}})};
  tool_support_.tools = Shows({{"user", "q", {}}}, kMark, tools);
  std::vector<ChatMessage> conversation = ProbeOfCall(JsonObject({{"k", kMark}}));
  tool_support_.calls = Shows(conversation, kMark);
  conversation = ProbeOfCall(JsonObject());
  ChatMessage result{"tool", kMark, {}};
  result.extra = {{"tool_call_id", "call00001"}, {"name", "f"}};
  conversation.push_back(std::move(result));
  tool_support_.results = Shows(conversation, kMark);
}

}  // namespace

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(std::string_view source, Adaptation adaptation) {
  LEM_ASSIGN_OR_RETURN(std::unique_ptr<jinja::Template> parsed, jinja::Template::Parse(source));
  auto out = std::make_unique<JinjaChatTemplate>(source, std::move(parsed), false);
  if (adaptation == Adaptation::kProbe) out->FindTraits();
  return out;
}

std::unique_ptr<ChatTemplate> ChatTemplate::ChatMl() {
  Result<std::unique_ptr<jinja::Template>> parsed = jinja::Template::Parse(kChatMl);
  LEM_CHECK(parsed.ok()) << parsed.status().ToString();
  return std::make_unique<JinjaChatTemplate>(kChatMl, *std::move(parsed), true);
}

}  // namespace lem
