// Published speeds of language models (data/llm_points.csv) beside what the cost model predicts for the same device
// alone. Predictions know of the SoC, the model's sizes and the format: never of a row.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "graph/plan.h"

namespace lem {

struct LlmPoint {
  std::string soc, device, engine, model, quant;
  Phase phase = Phase::kDecode;
  int64_t context = 1;      // tokens of the prompt (prefill), or before the token that is timed (decode)
  double tokens_per_s = 0;  // published; 0 = not given
  bool fit = false;         // current engines; others are kept for context
};

// Errors: InvalidArgument naming line and column.
Result<std::vector<LlmPoint>> ParseLlmPoints(std::string_view csv, std::string_view file_name);
const std::vector<LlmPoint>& KnownLlmPoints();

struct LlmSpeed {
  double tokens_per_s = 0;
  double joules_per_token = 0;
  std::string power_source;
  std::vector<std::string> guesses;  // fields of the device's profile that are guesses
};
// `device` of a point is a kind ("gpu", also "igpu" and "dgpu") or a device's name. Errors: NotFound (SoC, device,
// model or format, with those that are known).
Result<LlmSpeed> PredictLlmSpeed(const LlmPoint& point);

}  // namespace lem
