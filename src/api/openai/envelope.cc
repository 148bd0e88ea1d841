#include "api/openai/envelope.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace lem::openai {
namespace {

JsonWriter& StringOrNull(const std::string& text, JsonWriter& writer) {
  return text.empty() ? writer.Null() : writer.String(text);
}

std::string_view CacheMissName(CacheMiss miss) {
  switch (miss) {
    case CacheMiss::kNone:
      return "none";
    case CacheMiss::kOff:
      return "off";
    case CacheMiss::kNew:
      return "new";
    case CacheMiss::kDiffers:
      return "differs";
    case CacheMiss::kEvicted:
      return "evicted";
  }
  return "";
}

}  // namespace

std::string WriteError(const WireError& error) {
  JsonWriter writer;
  writer.BeginObject().Key("error").BeginObject();
  writer.Key("message").String(error.message);
  writer.Key("type").String(error.type);
  StringOrNull(error.param, writer.Key("param"));
  StringOrNull(error.code, writer.Key("code"));
  writer.EndObject().EndObject();
  return writer.Take();
}

void BeginObject(const Envelope& envelope, std::string_view object, JsonWriter& writer) {
  writer.BeginObject();
  writer.Key("id").String(envelope.id);
  writer.Key("object").String(object);
  writer.Key("created").Int(envelope.created_unix_s);
  writer.Key("model").String(envelope.model);
  writer.Key("system_fingerprint").String(envelope.system_fingerprint);
}

void WriteUsage(const Usage& usage, JsonWriter& writer) {
  writer.BeginObject();
  writer.Key("prompt_tokens").Int(usage.prompt_tokens);
  writer.Key("completion_tokens").Int(usage.completion_tokens);
  writer.Key("total_tokens").Int(int64_t{usage.prompt_tokens} + usage.completion_tokens);
  writer.Key("prompt_tokens_details").BeginObject();
  writer.Key("cached_tokens").Int(usage.cached_tokens);
  if (usage.cache_miss != CacheMiss::kNone) writer.Key("cache_miss").String(CacheMissName(usage.cache_miss));
  writer.EndObject();
  writer.Key("completion_tokens_details").BeginObject();
  writer.Key("reasoning_tokens").Int(usage.reasoning_tokens).EndObject();
  const bool measured = usage.energy_source != "unavailable";
  writer.Key("joules");
  measured ? writer.Double(usage.joules) : writer.Null();
  writer.Key("joules_source").String(usage.energy_source);
  writer.EndObject();
}

void WriteLogprob(float logprob, JsonWriter& writer) {
  if (std::isnan(logprob)) {
    writer.Null();
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), std::max(logprob, -9999.0f)).ptr;
  writer.Raw({buffer, static_cast<size_t>(end - buffer)});
}

std::string_view FinishReasonName(const ChoiceEnd& end) {
  if (end.reason == FinishReason::kLength) return "length";
  return end.has_tool_calls ? "tool_calls" : "stop";
}

}  // namespace lem::openai
