// The answers about models of Ollama's own API: lists, details, loaded ones, progress of downloads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lem::ollama {

// As Ollama's clients know a model: always with a tag.
struct Model {
  std::string name;    // "smollm2:135m"
  std::string digest;  // hexadecimal
  uint64_t size_bytes = 0;
  int64_t modified_unix_s = 0;
  std::string architecture;  // "llama"; empty = not known, as of a model that is not loaded
  std::string quantization;  // "Q4_1"
  uint64_t num_parameters = 0;
  int32_t context_length = 0;
  std::optional<int64_t> expires_unix_s;  // when it will be unloaded
  std::string chat_template;              // its text
  std::vector<std::string> capabilities;
};

// "NAME:latest" of "NAME"; names with a tag stay.
std::string WithTag(std::string_view name);

std::string WriteTags(std::span<const Model> models);
std::string WriteLoadedModels(std::span<const Model> models);
std::string WriteShow(const Model& model);

struct Progress {
  std::string status;  // "pulling manifest", "success", ...
  std::string digest;  // empty = no figures
  uint64_t total_bytes = 0, done_bytes = 0;
};
std::string WriteProgress(const Progress& progress);

}  // namespace lem::ollama
