#include "server/output_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/tool_grammar.h"

namespace lem {
namespace {

using Kind = OutputForm::Kind;
using GrammarResult = ParseResult<std::shared_ptr<const Grammar>>;

// Calls of one answer: small models do not know when to stop.
constexpr uint32_t kMaxCalls = 16;

// Of the tools of one request, when they have to be compiled one by one.
constexpr std::chrono::seconds kMaxCompileTime{5};

GrammarPiece PieceOf(const OutputForm& form) {
  switch (form.kind) {
    case Kind::kJsonObject:
      return GrammarPiece::JsonObject();
    case Kind::kJsonSchema:
      return GrammarPiece::JsonSchema(form.source);
    case Kind::kRegex:
      return GrammarPiece::Regex(form.source);
    case Kind::kGbnf:
      return GrammarPiece::Gbnf(form.source);
    case Kind::kLark:
      return GrammarPiece::Lark(form.source);
    case Kind::kChoice:
      return GrammarPiece::ChoiceOf(form.choices);
    case Kind::kText:
      break;
  }
  return GrammarPiece::Text();
}

// Everything that makes one grammar differ from another. Parts are told apart by their lengths.
class Key {
 public:
  Key() = default;
  explicit Key(const GrammarContext& context) {
    Add(ToolFamilyName(context.format.family));
    Add(context.format.reasoning.close);
    Add(fmt::format("{} {} {}", context.starts_in_reasoning, context.format.deepseek_fences,
                    context.format.is_generic));
    // Control tokens go in by their ids.
    for (const TokenId id : context.format.visible_tokens) Add(std::to_string(id));
  }
  void Add(std::string_view part) {
    text_ += std::to_string(part.size());
    text_ += ':';
    text_ += part;
  }
  void Add(const OutputForm& form) {
    Add(std::to_string(static_cast<int>(form.kind)));
    Add(form.source);
    for (const std::string& choice : form.choices) Add(choice);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

tl::unexpected<RequestError> Refuse(const Status& status, std::string param) {
  // Whatever cannot be compiled is the request's fault.
  Status named = InvalidArgument("{}: {}", param, status.message());
  return tl::unexpected(RequestError{std::move(named), std::move(param), "invalid_grammar"});
}

struct ToolReading {
  std::vector<CallableTool> tools;
  std::vector<std::string> params;  // "tools[0].function.parameters", by tool
  std::vector<bool> is_strict;      // what its schema says must hold
};

// REQUIRES: the request was checked: every tool has a function with a name.
ToolReading ReadTools(const ChatRequest& request, Key& key) {
  ToolReading reading;
  const std::vector<std::string>& names = request.tool_choice.names;
  const bool required = request.tool_choice.kind == ToolChoice::Kind::kRequired;
  for (size_t i = 0; i < request.tools.size(); ++i) {
    const JsonObject& function = request.tools[i].at("function").as_object();
    const auto& name_json = function.at("name").as_string();
    std::string name(name_json.data(), name_json.size());
    if (!names.empty() && std::ranges::find(names, name) == names.end()) continue;
    const auto* parameters = function.if_contains("parameters");
    const auto* strict = function.if_contains("strict");
    std::string schema;
    if (parameters != nullptr && !parameters->is_object()) parameters = nullptr;
    if (parameters != nullptr && !parameters->get_object().empty()) {
      JsonWriter writer;
      writer.Value(*parameters);
      schema = writer.Take();
    }
    key.Add(name);
    key.Add(parameters == nullptr ? "none" : schema);
    GrammarPiece arguments = schema.empty() ? GrammarPiece::JsonObject() : GrammarPiece::JsonSchema(schema);
    // OpenAI: without parameters the function has none.
    if (parameters == nullptr) arguments = GrammarPiece::Literal("{}");
    reading.tools.push_back({std::move(name), std::move(arguments)});
    reading.params.push_back(fmt::format("tools[{}].function.parameters", i));
    reading.is_strict.push_back(required || (strict != nullptr && strict->is_bool() && strict->get_bool()));
    key.Add(reading.is_strict.back() ? "strict" : "loose");
  }
  return reading;
}

uint32_t MaxCalls(const ChatRequest& request) {
  const bool is_named =
      request.tool_choice.kind == ToolChoice::Kind::kRequired && request.tool_choice.names.size() == 1;
  return request.parallel_tool_calls && !is_named ? kMaxCalls : 1;
}

GrammarPiece ChatPiece(const GrammarContext& context, const ChatRequest& request,
                       const std::vector<CallableTool>& tools) {
  const OutputForm& form = request.options.form;
  std::optional<GrammarPiece> form_piece;
  if (form.kind != Kind::kText) form_piece = PieceOf(form);
  const auto after_reasoning = [&](GrammarPiece answer) {
    return AfterReasoning(context.format, context.tokenizer, context.starts_in_reasoning, std::move(answer));
  };
  if (tools.empty()) return after_reasoning(AnswerPiece(context.format, context.tokenizer, *std::move(form_piece)));
  GrammarPiece calls = CallsPiece(context.format, context.tokenizer, tools, MaxCalls(request));
  if (request.tool_choice.kind == ToolChoice::Kind::kRequired) return after_reasoning(std::move(calls));
  return after_reasoning(FreeOrCallsPiece(context.format, context.tokenizer, std::move(calls), std::move(form_piece)));
}

// Which of the tools cannot be compiled, and why. Those that are not strict become any object, as OpenAI has it; the
// first strict one is the error.
std::optional<RequestError> LoosenTools(ToolReading& reading) {
  const auto end = std::chrono::steady_clock::now() + kMaxCompileTime;
  for (size_t i = 0; i < reading.tools.size(); ++i) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      return Refuse(
                 InvalidArgument("the schemas of {} tools take more than {} s to compile; give fewer or simpler ones",
                                 reading.tools.size(), kMaxCompileTime.count()),
                 "tools")
          .value();
    }
    GrammarLimits limits;
    limits.max_time_ms = std::min<int64_t>(limits.max_time_ms, left.count());
    const auto alone = Grammar::Compile(reading.tools[i].arguments, limits);
    if (alone.ok()) continue;
    if (reading.is_strict[i]) return Refuse(alone.status(), reading.params[i]).value();
    reading.tools[i].arguments = GrammarPiece::JsonObject();
  }
  return std::nullopt;
}

}  // namespace

Result<std::shared_ptr<const Grammar>> GrammarCache::Find(const std::string& key, const GrammarPiece& piece) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
      Shrink();  // grammars grow while they are used
      return entries_.front().grammar;
    }
  }
  LEM_ASSIGN_OR_RETURN(std::shared_ptr<const Grammar> grammar, Grammar::Compile(piece));
  const std::lock_guard lock(mutex_);
  if (by_key_.contains(key)) return grammar;
  entries_.push_front({key, grammar});
  by_key_.emplace(entries_.front().key, entries_.begin());
  key_bytes_ += key.size();
  Shrink();
  return grammar;
}

// Drops the least recently used until what is left is within the bounds; the first one stays. REQUIRES: mutex_ is held.
void GrammarCache::Shrink() {
  size_t bytes = 0;
  for (const Entry& entry : entries_) bytes += entry.grammar->MemoryBytes();
  while (entries_.size() > 1 && (entries_.size() > kMaxGrammars || key_bytes_ > kMaxKeyBytes || bytes > max_bytes_)) {
    const Entry& last = entries_.back();
    bytes -= std::min(bytes, last.grammar->MemoryBytes());
    key_bytes_ -= last.key.size();
    by_key_.erase(last.key);
    entries_.pop_back();
  }
}

GrammarResult CompileOutputGrammar(GrammarCache& cache, const OutputForm& form) {
  if (form.kind == Kind::kText) return nullptr;
  Key key;
  key.Add(form);
  auto grammar = cache.Find(key.text(), PieceOf(form));
  if (!grammar.ok()) return Refuse(grammar.status(), form.param);
  return *std::move(grammar);
}

GrammarResult CompileChatGrammar(GrammarCache& cache, const GrammarContext& context, const ChatRequest& request) {
  const OutputForm& form = request.options.form;
  if (form.kind == Kind::kText && request.tools.empty()) return nullptr;
  Key key(context);
  key.Add(form);
  key.Add(fmt::format("{} {}", static_cast<int>(request.tool_choice.kind), request.parallel_tool_calls));
  ToolReading reading = ReadTools(request, key);
  auto grammar = cache.Find(key.text(), ChatPiece(context, request, reading.tools));
  if (grammar.ok()) return *std::move(grammar);
  // Which part is it?
  if (form.kind != Kind::kText) {
    const auto alone = Grammar::Compile(PieceOf(form));
    if (!alone.ok()) return Refuse(alone.status(), form.param);
  }
  if (auto error = LoosenTools(reading)) return tl::unexpected(*std::move(error));
  grammar = cache.Find(key.text(), ChatPiece(context, request, reading.tools));
  if (!grammar.ok()) return Refuse(grammar.status(), reading.tools.empty() ? form.param : "tools");
  return *std::move(grammar);
}

}  // namespace lem
