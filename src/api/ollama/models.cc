#include "api/ollama/models.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/json.h"

namespace lem::ollama {
namespace {

// Of models that stay loaded: clients want a time all the same.
constexpr std::string_view kNeverExpires = "2318-01-01T00:00:00Z";

std::string TimeAsText(int64_t unix_s) { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(unix_s)); }

// "135M", "1.5B"; empty if it is not known.
std::string ParameterSize(uint64_t count) {
  const auto number = static_cast<double>(count);
  if (count == 0) return "";
  if (count >= 1'000'000'000) return fmt::format("{:.1f}B", number / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.0f}M", number / 1e6);
  return fmt::format("{:.0f}K", number / 1e3);
}

void WriteDetails(const Model& model, JsonWriter& writer) {
  writer.BeginObject().Key("parent_model").String("").Key("format").String("gguf");
  writer.Key("family").String(model.architecture).Key("families").BeginArray();
  if (!model.architecture.empty()) writer.String(model.architecture);
  writer.EndArray().Key("parameter_size").String(ParameterSize(model.num_parameters));
  writer.Key("quantization_level").String(model.quantization);
  if (model.context_length > 0) writer.Key("context_length").Int(model.context_length);
  writer.EndObject();
}

JsonWriter& BeginModel(const Model& model, JsonWriter& writer) {
  writer.BeginObject().Key("name").String(model.name).Key("model").String(model.name);
  writer.Key("size").UInt(model.size_bytes).Key("digest").String(model.digest);
  WriteDetails(model, writer.Key("details"));
  return writer;
}

}  // namespace

std::string WithTag(std::string_view name) {
  const size_t colon = name.rfind(':');
  const bool has_tag = colon != std::string_view::npos && name.find('/', colon) == std::string_view::npos;
  return has_tag ? std::string(name) : fmt::format("{}:latest", name);
}

std::string WriteTags(std::span<const Model> models) {
  JsonWriter writer;
  writer.BeginObject().Key("models").BeginArray();
  for (const Model& model : models) {
    BeginModel(model, writer).Key("modified_at").String(TimeAsText(model.modified_unix_s)).EndObject();
  }
  writer.EndArray().EndObject();
  return writer.Take();
}

std::string WriteLoadedModels(std::span<const Model> models) {
  JsonWriter writer;
  writer.BeginObject().Key("models").BeginArray();
  for (const Model& model : models) {
    BeginModel(model, writer)
        .Key("expires_at")
        .String(model.expires_unix_s ? TimeAsText(*model.expires_unix_s) : std::string(kNeverExpires));
    writer.Key("size_vram").UInt(0).Key("context_length").Int(model.context_length).EndObject();
  }
  writer.EndArray().EndObject();
  return writer.Take();
}

std::string WriteShow(const Model& model) {
  JsonWriter writer;
  writer.BeginObject().Key("license").String("");
  writer.Key("modelfile").String(fmt::format("# A model file as Ollama writes it\nFROM {}\n", model.name));
  writer.Key("parameters").String("").Key("template").String(model.chat_template);
  WriteDetails(model, writer.Key("details"));
  writer.Key("model_info").BeginObject().Key("general.architecture").String(model.architecture);
  writer.Key("general.parameter_count").UInt(model.num_parameters);
  writer.Key(fmt::format("{}.context_length", model.architecture)).Int(model.context_length).EndObject();
  writer.Key("capabilities").BeginArray();
  for (const std::string& capability : model.capabilities) writer.String(capability);
  writer.EndArray().Key("modified_at").String(TimeAsText(model.modified_unix_s)).EndObject();
  return writer.Take();
}

std::string WriteProgress(const Progress& progress) {
  JsonWriter writer;
  writer.BeginObject().Key("status").String(progress.status);
  if (!progress.digest.empty()) {
    writer.Key("digest").String("sha256:" + progress.digest);
    writer.Key("total").UInt(progress.total_bytes).Key("completed").UInt(progress.done_bytes);
  }
  writer.EndObject();
  return writer.Take();
}

}  // namespace lem::ollama
