// Small machines and a small model for tests of the planner, with round numbers.
#pragma once

#include <string>
#include <utility>

#include "scheduler/cost/cost_model.h"

namespace lem::testing_planner {

// A device with one rate for any number of rows, no overheads and no doubt.
inline DeviceProfile MakeDevice(std::string id, double tflops, double gbs, double watts = 10) {
  DeviceProfile device{.id = std::move(id), .kind = "any", .bandwidth_gbs = gbs};
  device.gemm = {{.weights = "", .points = {{1, tflops}}}};
  device.launch_us = 1;
  device.sync_us = 1;
  device.power = {.source = PowerSource::kRail, .busy_w = watts};
  device.log_error = 0;
  return device;
}

inline ModelShape SmallShape() {
  return {.name = "small",
          .num_layers = 6,
          .hidden_size = 1024,
          .intermediate_size = 4096,
          .num_heads = 8,
          .num_kv_heads = 8,
          .head_dim = 128,
          .vocab_size = 8192};
}
inline ModelWork SmallModel() { return WorkOfShape(SmallShape(), {"f16", 16, 16, 16, 16, 16}); }

}  // namespace lem::testing_planner
