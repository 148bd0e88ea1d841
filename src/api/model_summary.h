// What every dialect's list of models tells. Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace lem {

struct ModelSummary {
  std::string id;
  int64_t created_unix_s = 0;
  int32_t context_length = 0;  // 0 = not known yet
  std::string state;           // "ready", "loading", "failed"
};

}  // namespace lem
