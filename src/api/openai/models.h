// The answers of GET /v1/models and GET /v1/models/{id}.
#pragma once

#include <span>
#include <string>

#include "api/model_summary.h"

namespace lem::openai {

std::string WriteModelList(std::span<const ModelSummary> models);
std::string WriteModel(const ModelSummary& model);

}  // namespace lem::openai
