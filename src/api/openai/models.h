// The answers of GET /v1/models and GET /v1/models/{id}.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace lem::openai {

struct ModelSummary {
  std::string id;
  int64_t created_unix_s = 0;
  int32_t context_length = 0;  // 0 = not known yet
  std::string state;           // "ready", "loading", "failed"
};

std::string WriteModelList(std::span<const ModelSummary> models);
std::string WriteModel(const ModelSummary& model);

}  // namespace lem::openai
