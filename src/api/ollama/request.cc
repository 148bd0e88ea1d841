#include "api/ollama/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "api/json_fields.h"
#include "api/tool_name.h"

namespace lem::ollama {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr int64_t kMinInt32 = std::numeric_limits<int32_t>::min();
constexpr size_t kMaxStopStrings = 16;
constexpr size_t kMaxStopBytes = 1024;

// Ollama's own.
SamplingParams DefaultSampling() {
  SamplingParams sampling;
  sampling.temperature = 0.8f;
  sampling.top_k = 40;
  sampling.top_p = 0.9f;
  return sampling;
}

std::string_view ViewOf(const boost::json::string& text) { return {text.data(), text.size()}; }

void ReadStop(JsonFields& options, RequestOptions& out) {
  const JsonValue* stop = options.Find("stop");
  if (stop == nullptr) return;
  const JsonArray one = stop->is_string() ? JsonArray{*stop} : JsonArray();
  const JsonArray* list = stop->is_array() ? &stop->get_array() : &one;
  if (list->empty() && !stop->is_array()) return options.FailType("stop", *stop, "a string, or an array of strings");
  if (list->size() > kMaxStopStrings) {
    return options.Fail(
        "stop", "array_above_max_length",
        fmt::format("{} has {} strings; allowed: at most {}", options.PathOf("stop"), list->size(), kMaxStopStrings));
  }
  for (const JsonValue& value : *list) {
    const auto* text = value.if_string();
    if (text == nullptr || text->size() > kMaxStopBytes) {
      return options.FailType("stop", value, fmt::format("strings of at most {} bytes", kMaxStopBytes));
    }
    if (!text->empty()) out.stop.emplace_back(ViewOf(*text));
  }
}

void ReadOptions(JsonFields& fields, RequestOptions& out) {
  SamplingParams& sampling = out.sampling;
  sampling = DefaultSampling();
  const JsonObject* object = fields.Object("options");
  if (object == nullptr) return;
  JsonFields options(*object, "options", fields.error());
  const auto number = [&](std::string_view name, NumberRange range, float& target) {
    if (const auto value = options.Number(name, range)) target = static_cast<float>(*value);
  };
  number("temperature", {0, 2}, sampling.temperature);
  number("top_p", {0, 1}, sampling.top_p);
  number("min_p", {0, 1}, sampling.min_p);
  number("typical_p", {0, 1}, sampling.typical_p);
  number("repeat_penalty", {0.01, 100}, sampling.repetition_penalty);
  number("presence_penalty", {-2, 2}, sampling.presence_penalty);
  number("frequency_penalty", {-2, 2}, sampling.frequency_penalty);
  if (const auto top_k = options.Integer("top_k", {-1, kMaxInt32})) {
    sampling.top_k = static_cast<int32_t>(std::max<int64_t>(*top_k, 0));
  }
  if (const auto window = options.Integer("repeat_last_n", {-1, kMaxInt32})) {
    sampling.penalty_window = static_cast<int32_t>(*window);
  }
  const auto seed = options.Integer("seed", {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()});
  if (seed && *seed >= 0) sampling.seed = static_cast<uint64_t>(*seed);
  // -1: no limit; -2: until the context is full, which is the same here.
  const auto num_predict = options.Integer("num_predict", {kMinInt32, kMaxInt32});
  if (num_predict && *num_predict > 0) out.max_tokens = static_cast<int32_t>(*num_predict);
  // The context is there already and nothing is loaded anew for another size: only the type is looked at.
  (void)options.Integer("num_ctx", {0, kMaxInt32});
  ReadStop(options, out);
}

void ReadFormat(JsonFields& fields, RequestOptions& options) {
  const JsonValue* format = fields.Find("format");
  if (format == nullptr) return;
  if (const auto* name = format->if_string()) {
    if (*name == "json") {
      options.form = {OutputForm::Kind::kJsonObject, "", {}, "format"};
    } else if (!name->empty()) {
      fields.FailValue("format", *format, "\"json\" or a JSON schema");
    }
  } else if (format->is_object()) {
    JsonWriter writer;
    writer.Value(*format);
    options.form = {OutputForm::Kind::kJsonSchema, writer.Take(), {}, "format"};
  } else {
    fields.FailType("format", *format, "\"json\" or a JSON schema");
  }
}

void ReadThink(JsonFields& fields, Request& request) {
  const JsonValue* think = fields.Find("think");
  if (think == nullptr) return;
  constexpr std::string_view kAllowed = R"(true, false, "low", "medium", "high" or "max")";
  if (const auto* wanted = think->if_bool()) {
    request.think = *wanted;
  } else if (const auto* level = think->if_string()) {
    if (*level != "low" && *level != "medium" && *level != "high" && *level != "max") {
      return fields.FailValue("think", *think, kAllowed);
    }
    request.think = true;
    request.chat.template_arguments["reasoning_effort"] = *level;
  } else {
    return fields.FailType("think", *think, kAllowed);
  }
  request.chat.template_arguments["enable_thinking"] = *request.think;
}

// Seconds of a duration as Go writes it: "5m", "1h30m", "-1", "0". nullopt: it is none.
std::optional<double> ParseDuration(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 8> kUnits = {
      {{"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"h", 3600}, {"m", 60}, {"s", 1}, {"", 1}}};
  const bool is_negative = text.starts_with('-');
  if (is_negative) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  double seconds = 0;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || number < 0) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    const size_t unit_size = std::min(text.find_first_of("0123456789."), text.size());
    const auto unit = std::ranges::find(kUnits, text.substr(0, unit_size), &std::pair<std::string_view, double>::first);
    if (unit == kUnits.end()) return std::nullopt;
    seconds += number * unit->second;
    text.remove_prefix(unit_size);
  }
  return is_negative ? -seconds : seconds;
}

std::optional<std::chrono::seconds> ReadKeepAlive(JsonFields& fields) {
  const JsonValue* value = fields.Find("keep_alive");
  if (value == nullptr) return std::nullopt;
  constexpr std::string_view kAllowed = "seconds, or a duration such as \"5m\"; negative: for ever";
  constexpr double kMaxSeconds = 100.0 * 365 * 24 * 3600;
  std::optional<double> seconds;
  if (value->is_number()) {
    seconds = value->to_number<double>();
  } else if (const auto* text = value->if_string()) {
    seconds = ParseDuration(ViewOf(*text));
  }
  if (!seconds || std::isnan(*seconds)) {
    fields.FailType("keep_alive", *value, kAllowed);
    return std::nullopt;
  }
  if (*seconds < 0) return std::chrono::seconds(-1);
  // A part of a second is not nothing.
  return std::chrono::seconds(static_cast<int64_t>(std::ceil(std::min(*seconds, kMaxSeconds))));
}

void RefuseImages(JsonFields& fields) {
  const JsonArray* images = fields.Array("images");
  if (images == nullptr || images->empty()) return;
  fields.Fail("images", "unsupported_value",
              fmt::format("{} has {} images; this server reads text only", fields.PathOf("images"), images->size()));
}

// What a chat and a generation have alike.
void ReadShared(JsonFields& fields, Request& request) {
  if (const auto model = fields.String("model"); model && !model->empty()) {
    request.model = *model;
  } else {
    fields.FailMissing("model", "the name of a model; GET /api/tags lists them");
  }
  request.stream = fields.Boolean("stream").value_or(true);
  RequestOptions& options = request.chat.options;
  options.model = request.model;
  options.stream = request.stream;
  ReadOptions(fields, options);
  ReadFormat(fields, options);
  ReadThink(fields, request);
  RefuseImages(fields);
  const auto top = fields.Integer("top_logprobs", {0, 20});
  if (fields.Boolean("logprobs").value_or(false)) options.num_logprobs = static_cast<int32_t>(top.value_or(0));
  request.keep_alive = ReadKeepAlive(fields);
  if (request.keep_alive == std::chrono::seconds(0)) request.kind = Request::Kind::kUnload;
}

void ReadToolCalls(JsonFields& message, JsonObject& extra) {
  const JsonArray* calls = message.Array("tool_calls");
  if (calls == nullptr || calls->empty()) return;
  JsonArray out;
  for (size_t i = 0; i < calls->size(); ++i) {
    const std::string path = fmt::format("{}[{}]", message.PathOf("tool_calls"), i);
    const auto* object = (*calls)[i].if_object();
    const auto* function = object == nullptr ? nullptr : object->if_contains("function");
    const auto* members = function == nullptr ? nullptr : function->if_object();
    if (members == nullptr) {
      return message.error().Set({InvalidArgument("{} has no function; allowed: {{\"function\": {{\"name\", "
                                                  "\"arguments\"}}}}",
                                                  path),
                                  path, "invalid_type"});
    }
    JsonObject call = {{"type", "function"}, {"function", *members}};
    if (const auto* id = object->if_contains("id")) call["id"] = *id;
    out.push_back(std::move(call));
  }
  extra["tool_calls"] = std::move(out);
}

void ReadMessage(const JsonValue& value, size_t idx, FirstError& error, ChatRequest& chat) {
  const std::string path = fmt::format("messages[{}]", idx);
  const auto* object = value.if_object();
  if (object == nullptr) {
    return error.Set({InvalidArgument("{} is {}; allowed: an object with role and content", path, JsonExcerpt(value)),
                      path, "invalid_type"});
  }
  JsonFields fields(*object, path, error);
  constexpr std::string_view kRoles = "\"system\", \"user\", \"assistant\" or \"tool\"";
  const auto role = fields.String("role");
  if (!role) return fields.FailMissing("role", kRoles);
  if (*role != "system" && *role != "user" && *role != "assistant" && *role != "tool") {
    return fields.FailValue("role", *fields.Find("role"), kRoles);
  }
  ChatMessage message{std::string(*role), std::string(fields.String("content").value_or("")), {}};
  RefuseImages(fields);
  if (const auto thinking = fields.String("thinking"); thinking && !thinking->empty()) {
    message.extra["reasoning_content"] = *thinking;
  }
  if (const auto name = fields.String("tool_name")) message.extra["name"] = *name;
  if (const auto id = fields.String("tool_call_id")) message.extra["tool_call_id"] = *id;
  ReadToolCalls(fields, message.extra);
  chat.messages.push_back(std::move(message));
}

void ReadTools(JsonFields& fields, ChatRequest& chat) {
  const JsonArray* tools = fields.Array("tools");
  if (tools == nullptr) return;
  if (tools->size() > kMaxTools) {
    return fields.Fail("tools", "array_above_max_length",
                       fmt::format("tools has {} tools; allowed: at most {}", tools->size(), kMaxTools));
  }
  for (size_t i = 0; i < tools->size() && fields.error().ok(); ++i) {
    const std::string path = fmt::format("tools[{}]", i);
    const auto* object = (*tools)[i].if_object();
    const auto* function = object == nullptr ? nullptr : object->if_contains("function");
    const auto* members = function == nullptr ? nullptr : function->if_object();
    if (members == nullptr) {
      return fields.Fail(
          path, "invalid_type",
          fmt::format("{} has no function; allowed: {{\"type\": \"function\", \"function\": {{...}}}}", path));
    }
    JsonFields nested(*members, path + ".function", fields.error());
    const auto name = nested.String("name");
    if (!name) return nested.FailMissing("name", kToolNameForm);
    if (!IsToolName(*name)) return nested.FailValue("name", *nested.Find("name"), kToolNameForm);
    (void)nested.Object("parameters");
    chat.tools.push_back(JsonObject{{"type", "function"}, {"function", *members}});
  }
}

// What stands in an assistant's last message is where the answer goes on.
void TakePrefill(ChatRequest& chat) {
  ChatMessage& last = chat.messages.back();
  if (chat.messages.size() < 2 || last.role != "assistant" || !last.extra.empty()) return;
  chat.answer_prefix = std::move(last.content);
  chat.messages.pop_back();
}

tl::unexpected<RequestError> NotAnObject(const JsonValue& body) {
  return tl::unexpected(RequestError{
      InvalidArgument("the body is {}; allowed: an object with model", JsonKindName(body)), "", "invalid_type"});
}

}  // namespace

ParseResult<Request> ParseChat(const JsonValue& body) {
  if (!body.is_object()) return NotAnObject(body);
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  Request request;
  ReadShared(fields, request);
  ReadTools(fields, request.chat);
  const JsonArray* messages = fields.Array("messages");
  for (size_t i = 0; messages != nullptr && i < messages->size() && error.ok(); ++i) {
    ReadMessage((*messages)[i], i, error, request.chat);
  }
  if (!error.ok()) return tl::unexpected(error.Take());
  if (request.chat.messages.empty()) return request;
  request.kind = Request::Kind::kChat;
  TakePrefill(request.chat);
  return request;
}

ParseResult<Request> ParseGenerate(const JsonValue& body) {
  if (!body.is_object()) return NotAnObject(body);
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  Request request;
  ReadShared(fields, request);
  const auto prompt = fields.String("prompt");
  const auto system = fields.String("system");
  const bool raw = fields.Boolean("raw").value_or(false);
  const auto suffix = fields.String("suffix");
  if (const auto own = fields.String("template"); own && !own->empty()) {
    fields.Fail("template", "unsupported_parameter",
                "template is not supported: use the model's own, or raw with the whole prompt");
  }
  if (const JsonArray* context = fields.Array("context"); context != nullptr && !context->empty()) {
    fields.Fail("context", "unsupported_parameter", "context is not supported: send the conversation to /api/chat");
  }
  if (!error.ok()) return tl::unexpected(error.Take());
  if (!prompt || prompt->empty()) return request;
  if (raw || (suffix && !suffix->empty())) {
    request.kind = Request::Kind::kText;
    request.text.options = request.chat.options;
    request.text.prompts.emplace_back(std::string(*prompt));
    request.text.special_tokens = raw ? SpecialTokens::kParse : SpecialTokens::kAsText;
    request.text.suffix = suffix.value_or("");
    return request;
  }
  request.kind = Request::Kind::kChat;
  if (system && !system->empty()) request.chat.messages.push_back({"system", std::string(*system), {}});
  request.chat.messages.push_back({"user", std::string(*prompt), {}});
  return request;
}

ParseResult<EmbedRequest> ParseEmbed(const JsonValue& body) {
  if (!body.is_object()) return NotAnObject(body);
  constexpr size_t kMaxInputs = 2048;
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  EmbedRequest request;
  request.model = fields.String("model").value_or("");
  if (request.model.empty()) fields.FailMissing("model", "the name of a model");
  const JsonValue* input = fields.Find("input");
  const JsonArray* list = input == nullptr ? nullptr : input->if_array();
  if (input != nullptr && input->is_string()) {
    if (!input->get_string().empty()) request.inputs.emplace_back(std::string(ViewOf(input->get_string())));
  } else if (list != nullptr) {
    request.inputs.reserve(std::min(list->size(), kMaxInputs));
    for (size_t i = 0; i < list->size() && i < kMaxInputs && error.ok(); ++i) {
      const auto* text = (*list)[i].if_string();
      if (text == nullptr) {
        fields.FailType(fmt::format("input[{}]", i), (*list)[i], "a string");
      } else {
        request.inputs.emplace_back(std::string(ViewOf(*text)));
      }
    }
    if (list->size() > kMaxInputs) {
      fields.Fail("input", "", fmt::format("input has {} entries; allowed: at most {}", list->size(), kMaxInputs));
    }
  } else if (input != nullptr) {
    fields.FailType("input", *input, "a string, or an array of strings");
  }
  request.truncate = fields.Boolean("truncate").value_or(true);
  request.dimensions = static_cast<int32_t>(fields.Integer("dimensions", {1, 1 << 20}).value_or(0));
  request.keep_alive = ReadKeepAlive(fields);
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

ParseResult<EmbedRequest> ParseEmbeddings(const JsonValue& body) {
  if (!body.is_object()) return NotAnObject(body);
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  EmbedRequest request;
  request.is_single = true;
  request.model = fields.String("model").value_or("");
  if (request.model.empty()) fields.FailMissing("model", "the name of a model");
  if (const auto prompt = fields.String("prompt"); prompt && !prompt->empty()) {
    request.inputs.emplace_back(std::string(*prompt));
  }
  request.keep_alive = ReadKeepAlive(fields);
  if (!error.ok()) return tl::unexpected(error.Take());
  return request;
}

ParseResult<NamedModel> ParseNamedModel(const JsonValue& body) {
  if (!body.is_object()) return NotAnObject(body);
  FirstError error;
  JsonFields fields(body.get_object(), "", error);
  NamedModel model;
  // The first has been the name of the second.
  for (const std::string_view key : {"name", "model"}) {
    if (const auto name = fields.String(key)) model.name = *name;
  }
  model.stream = fields.Boolean("stream").value_or(true);
  if (model.name.empty()) fields.FailMissing("model", "the name of a model");
  if (!error.ok()) return tl::unexpected(error.Take());
  return model;
}

}  // namespace lem::ollama
