#include "text/chat_template.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/check.h"
#include "text/jinja/from_json.h"
#include "text/jinja/interpreter.h"

namespace lem {
namespace {

constexpr std::string_view kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Roles that templates know by name. Any other role is the caller's own text.
constexpr std::string_view kKnownRoles[] = {"system",    "user",     "assistant", "tool",
                                            "developer", "function", "ipython",   "model"};

// How a template wants the content of a message.
enum class ContentStyle : uint8_t {
  kString,
  kParts,  // [{"type": "text", "text": content}]
};

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(std::unique_ptr<jinja::Template> source, bool is_fallback)
      : source_(std::move(source)), is_fallback_(is_fallback) {
    content_style_ = FindContentStyle();
  }

  Result<std::string> Render(const ChatTemplateInputs& inputs) const override {
    jinja::Interpreter interpreter(*source_, jinja::RenderLimits(), Now(inputs));
    jinja::TextBuilder out(interpreter.heap(), interpreter.heap().limits().max_output_bytes);
    LEM_TRY(RenderTo(interpreter, out, inputs, content_style_));
    return out.text();
  }

  Result<std::vector<RenderedSpan>> RenderSpans(const ChatTemplateInputs& inputs) const override {
    jinja::Interpreter interpreter(*source_, jinja::RenderLimits(), Now(inputs));
    jinja::TextBuilder out(interpreter.heap(), interpreter.heap().limits().max_output_bytes);
    LEM_TRY(RenderTo(interpreter, out, inputs, content_style_));
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

 private:
  static int64_t Now(const ChatTemplateInputs& inputs) {
    return inputs.unix_time_s != 0 ? inputs.unix_time_s : static_cast<int64_t>(std::time(nullptr));
  }

  static jinja::Value Message(jinja::Heap& heap, const ChatMessage& message, ContentStyle style) {
    using jinja::Value;
    const bool known_role = std::ranges::find(kKnownRoles, message.role) != std::end(kKnownRoles);
    auto* dict = heap.New<jinja::Dict>();
    const auto key = [&](std::string_view name) { return Value::String(jinja::TrustedStr(heap, name)); };
    dict->Push(
        heap, key("role"),
        Value::String(known_role ? jinja::TrustedStr(heap, message.role) : jinja::TaintedStr(heap, message.role)));
    Value content = Value::String(jinja::TaintedStr(heap, message.content));
    if (style == ContentStyle::kParts) {
      auto* part = heap.New<jinja::Dict>();
      part->Push(heap, key("type"), key("text"));
      part->Push(heap, key("text"), content);
      jinja::List* parts = jinja::NewList(heap);
      parts->Push(heap, Value::Of(jinja::Kind::kDict, part));
      content = Value::Of(jinja::Kind::kList, parts);
    }
    dict->Push(heap, key("content"), content);
    for (const auto& member : message.extra) {
      const std::string_view name(member.key().data(), member.key().size());
      dict->Set(heap, Value::String(jinja::TaintedStr(heap, name)), jinja::FromJson(heap, member.value()));
    }
    return Value::Of(jinja::Kind::kDict, dict);
  }

  // Defines the variables that Hugging Face's apply_chat_template defines, and renders.
  Status RenderTo(jinja::Interpreter& interpreter, jinja::TextBuilder& out, const ChatTemplateInputs& inputs,
                  ContentStyle style) const {
    using jinja::Value;
    jinja::Heap& heap = interpreter.heap();
    interpreter.SetVariable("documents", Value::None());
    for (const auto& member : inputs.extra) {
      interpreter.SetVariable({member.key().data(), member.key().size()}, jinja::FromJson(heap, member.value()));
    }
    jinja::List* messages = jinja::NewList(heap);
    for (const ChatMessage& message : inputs.messages) messages->Push(heap, Message(heap, message, style));
    interpreter.SetVariable("messages", Value::Of(jinja::Kind::kList, messages));
    jinja::List* tools = jinja::NewList(heap);
    for (const JsonValue& tool : inputs.tools) tools->Push(heap, jinja::FromJson(heap, tool));
    interpreter.SetVariable("tools", inputs.tools.empty() ? Value::None() : Value::Of(jinja::Kind::kList, tools));
    interpreter.SetVariable("add_generation_prompt", Value::Bool(inputs.add_generation_prompt));
    interpreter.SetVariable("bos_token", Value::String(jinja::TrustedStr(heap, inputs.bos_token)));
    interpreter.SetVariable("eos_token", Value::String(jinja::TrustedStr(heap, inputs.eos_token)));
    return interpreter.Run(out);
  }

  // Some templates read only content that is a list of parts and drop a string in silence. A message with a mark in it
  // tells which this is.
  ContentStyle FindContentStyle() const {
    ChatTemplateInputs probe;
    probe.messages.push_back({"user", "lemonade-content-probe", {}});
    probe.unix_time_s = 1;
    const auto shows_content = [&](ContentStyle style) {
      jinja::Interpreter interpreter(*source_, jinja::RenderLimits(), probe.unix_time_s);
      jinja::TextBuilder out(interpreter.heap(), interpreter.heap().limits().max_output_bytes);
      return RenderTo(interpreter, out, probe, style).ok() &&
             out.text().find(probe.messages[0].content) != std::string::npos;
    };
    if (shows_content(ContentStyle::kString)) return ContentStyle::kString;
    return shows_content(ContentStyle::kParts) ? ContentStyle::kParts : ContentStyle::kString;
  }

  std::unique_ptr<jinja::Template> source_;
  bool is_fallback_;
  ContentStyle content_style_ = ContentStyle::kString;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(std::string_view source) {
  LEM_ASSIGN_OR_RETURN(std::unique_ptr<jinja::Template> parsed, jinja::Template::Parse(source));
  return std::make_unique<JinjaChatTemplate>(std::move(parsed), false);
}

std::unique_ptr<ChatTemplate> ChatTemplate::ChatMl() {
  Result<std::unique_ptr<jinja::Template>> parsed = jinja::Template::Parse(kChatMl);
  LEM_CHECK(parsed.ok()) << parsed.status().ToString();
  return std::make_unique<JinjaChatTemplate>(*std::move(parsed), true);
}

}  // namespace lem
