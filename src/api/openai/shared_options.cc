#include "api/openai/shared_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/openai/output_form.h"

namespace lem::openai {
namespace {

void RefuseUnsupported(ParameterFields& fields) {
  for (const UnsupportedParameter& parameter : UnsupportedParametersOf(fields.endpoint())) {
    const JsonValue* value = fields.Find(parameter.name);
    if (value == nullptr) continue;
    JsonWriter as_sent;
    as_sent.Value(*value);
    if (as_sent.text() == parameter.accepted_json) continue;
    fields.Fail(parameter.name, "unsupported_parameter",
                fmt::format("{} is not supported: {}", parameter.name, parameter.advice));
  }
}

// What is known and changes no answer here: it is for OpenAI's billing, caches and records, or a hint. docs/clients.md
// names them.
struct WithoutEffect {
  std::string_view name;
  bool (JsonValue::*is_right)() const noexcept;
  std::string_view allowed;
};
constexpr WithoutEffect kWithoutEffect[] = {
    {"user", &JsonValue::is_string, "a string"},
    {"safety_identifier", &JsonValue::is_string, "a string"},
    {"prompt_cache_key", &JsonValue::is_string, "a string"},
    {"prompt_cache_retention", &JsonValue::is_string, "a string"},
    {"prompt_cache_options", &JsonValue::is_object, "an object"},
    {"service_tier", &JsonValue::is_string, "a string"},
    {"prediction", &JsonValue::is_object, "an object"},
    {"metadata", &JsonValue::is_object, "an object"},
    {"store", &JsonValue::is_bool, "true or false"},
};

void CheckWithoutEffect(ParameterFields& fields) {
  for (const WithoutEffect& parameter : kWithoutEffect) {
    const JsonValue* value = fields.Find(parameter.name);
    if (value != nullptr && !(value->*parameter.is_right)()) {
      fields.FailType(parameter.name, *value, parameter.allowed);
    }
  }
}

void ReadLogitBias(ParameterFields& fields, SamplingParams& sampling) {
  const JsonObject* biases = fields.Object("logit_bias");
  if (biases == nullptr) return;
  if (biases->size() > kMaxLogitBias) {
    fields.Fail("logit_bias", "object_above_max_length",
                fmt::format("logit_bias has {} tokens; allowed: at most {}", biases->size(), kMaxLogitBias));
    return;
  }
  const auto range = std::get<NumberRange>(FindParameter(fields.endpoint(), "logit_bias").allowed);
  for (const auto& member : *biases) {
    const std::string_view key(member.key().data(), member.key().size());
    int32_t token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0) {
      fields.Fail("logit_bias", "invalid_value",
                  fmt::format("logit_bias has the key {}; allowed: token ids, such as \"50256\"",
                              JsonExcerpt(JsonValue(member.key()))));
      return;
    }
    const auto bias = ReadNumber(member.value(), range, fmt::format("logit_bias.{}", token), fields.error());
    if (!bias) return;
    sampling.logit_bias.emplace_back(token, static_cast<float>(*bias));
  }
}

SamplingParams ReadSampling(ParameterFields& fields) {
  SamplingParams sampling;
  const auto number = [&](std::string_view name, float& target) {
    if (const auto value = fields.Number(name)) target = static_cast<float>(*value);
  };
  number("temperature", sampling.temperature);
  number("top_p", sampling.top_p);
  number("min_p", sampling.min_p);
  number("typical_p", sampling.typical_p);
  number("repeat_penalty", sampling.repetition_penalty);
  number("repetition_penalty", sampling.repetition_penalty);
  number("frequency_penalty", sampling.frequency_penalty);
  number("presence_penalty", sampling.presence_penalty);
  if (const auto top_k = fields.Integer("top_k")) sampling.top_k = static_cast<int32_t>(std::max<int64_t>(*top_k, 0));
  if (const auto window = fields.Integer("repeat_last_n")) sampling.penalty_window = static_cast<int32_t>(*window);
  if (const auto seed = fields.Integer("seed")) sampling.seed = static_cast<uint64_t>(*seed);
  ReadLogitBias(fields, sampling);
  return sampling;
}

void ReadStop(ParameterFields& fields, std::vector<std::string>& stop) {
  constexpr std::string_view kAllowed = "a string, or an array of strings";
  const auto add = [&](const JsonValue& value, const std::string& path) {
    const auto* text = value.if_string();
    if (text == nullptr) {
      fields.Fail(path, "invalid_type", fmt::format("{} is {}; allowed: {}", path, JsonExcerpt(value), kAllowed));
    } else if (text->size() > kMaxStopBytes) {
      fields.Fail(path, "string_above_max_length",
                  fmt::format("{} has {} bytes; allowed: at most {}", path, text->size(), kMaxStopBytes));
    } else if (!text->empty()) {
      stop.emplace_back(text->data(), text->size());
    }
  };
  const JsonValue* value = fields.Find("stop");
  if (value == nullptr) return;
  const auto* list = value->if_array();
  if (list == nullptr) return add(*value, "stop");
  if (list->size() > kMaxStopStrings) {
    fields.Fail("stop", "array_above_max_length",
                fmt::format("stop has {} strings; allowed: at most {}", list->size(), kMaxStopStrings));
    return;
  }
  for (size_t i = 0; i < list->size(); ++i) add((*list)[i], fmt::format("stop[{}]", i));
}

void ReadStreaming(ParameterFields& fields, RequestOptions& options) {
  options.stream = fields.Boolean("stream").value_or(false);
  const JsonObject* stream_options = fields.Object("stream_options");
  if (stream_options == nullptr) return;
  if (!options.stream) {
    fields.Fail("stream_options", "invalid_value", "stream_options is given; it is allowed only with \"stream\": true");
    return;
  }
  JsonFields nested(*stream_options, "stream_options", fields.error());
  options.include_usage = nested.Boolean("include_usage").value_or(false);
  (void)nested.Boolean("include_obfuscation");  // padding against traffic analysis: of no use without TLS
}

}  // namespace

RequestOptions ReadCommonOptions(ParameterFields& fields) {
  RequestOptions options;
  if (const auto model = fields.String("model")) {
    options.model = *model;
  } else {
    fields.FailMissing("model", "the id of a model; GET /v1/models lists them");
  }
  options.sampling = ReadSampling(fields);
  ReadStop(fields, options.stop);
  options.ignore_end_tokens = fields.Boolean("ignore_eos").value_or(false);
  if (const auto salt = fields.String("cache_salt")) options.cache_salt = *salt;
  ReadStreaming(fields, options);
  RefuseUnsupported(fields);
  CheckWithoutEffect(fields);
  return options;
}

RequestOptions ReadSharedOptions(ParameterFields& fields) {
  RequestOptions options = ReadCommonOptions(fields);
  if (const auto n = fields.Integer("n")) options.num_choices = static_cast<int32_t>(*n);
  if (const auto max_tokens = fields.Integer("max_tokens")) options.max_tokens = static_cast<int32_t>(*max_tokens);
  options.form = ReadOutputForm(fields);
  return options;
}

std::string ReadEffort(JsonFields& fields, std::string_view name, JsonObject& template_arguments) {
  constexpr std::array<std::string_view, 7> kEfforts = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
  const auto effort = fields.String(name);
  if (!effort) return {};
  if (std::ranges::find(kEfforts, *effort) == kEfforts.end()) {
    fields.FailValue(name, *fields.Find(name), fmt::format("\"{}\"", fmt::join(kEfforts, "\", \"")));
    return {};
  }
  template_arguments["reasoning_effort"] = *effort;
  // Models that can do both go by this variable of their templates; the others do not look at it.
  if (*effort == "none" && !template_arguments.contains("enable_thinking")) {
    template_arguments["enable_thinking"] = false;
  }
  return std::string(*effort);
}

}  // namespace lem::openai
