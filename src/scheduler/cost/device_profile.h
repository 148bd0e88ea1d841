// What a machine's devices can do, in numbers: the only thing that the cost model and the search know of a device. The
// same types hold what was measured on this machine and what is published of machines that one does not own.
//
// Values; immutable once handed to a CostModel. `kind` and `name` are for people: no rule reads them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "graph/plan.h"
#include "telemetry/power_source.h"

namespace lem {

// Rate of matrix products of so many rows.
struct RatePoint {
  double rows = 1;
  double tflops = 0;
};

// By rising rows. Between points the rate is interpolated over log(rows); outside, it is the nearest point's.
// REQUIRES: at least one point.
double RateAt(const std::vector<RatePoint>& points, double rows);

struct GemmCurve {
  std::string weights;  // format of the weights that it was measured with ("Q4_K"); empty = any
  std::vector<RatePoint> points;
};

struct DevicePower {
  PowerSource source = PowerSource::kUnavailable;
  double idle_w = 0;     // while it waits
  double busy_w = 0;     // while it works, idle_w included; 0 = not known
  double j_per_mac = 0;  // beside idle_w, in place of busy_w where both are known
  double j_per_byte = 0;
};

struct DeviceProfile {
  std::string id;    // as placements name it: "vulkan:0"
  std::string kind;  // "cpu", "gpu", "npu"
  std::string name;  // of the product

  std::vector<GemmCurve> gemm;         // at least one with any weights
  std::vector<GemmCurve> answer_gemm;  // of steps of answers, and of the head; empty = as gemm
  // Scores and sums of attention by rows of a step, for each phase. Empty = for single rows attention_tflops, for more
  // as gemm.
  std::array<std::vector<RatePoint>, 2> attention;
  double attention_tflops = 0;        // 0 = no limit but bandwidth
  double bandwidth_gbs = 0;           // that it reaches alone, reading weights
  double expert_bandwidth_share = 1;  // of bandwidth_gbs, when it reads scattered experts
  double expert_gemm_share = 1;       // of the rate of products, when rows are dealt out to experts
  double kv_bits = 16;                // of an element of its keys and values

  SpaceId space = kHostSpace;  // devices of one space work on the same bytes
  uint64_t memory_bytes = 0;   // of its space that it can use; 0 = not known, taken as enough

  double launch_us = 0;           // to begin a segment
  double sync_us = 0;             // until another device, or the host, sees that a segment has ended
  double layer_us = 0;            // of each layer of a step, beside its work
  double many_rows_layer_us = 0;  // the same, when the step has more than one row: programs that must be exchanged
  double expert_dispatch_us = 0;  // of each layer with experts: the host reads which ones and dispatches the rest
  double compile_ms = 0;          // of an executable for a bucket that it has not seen

  // Static graphs: a step is padded to the smallest bucket that holds it; above the largest, to a multiple of it.
  // Empty = shapes are dynamic.
  std::vector<int64_t> row_buckets;
  int64_t max_step_rows = 4096;  // of a prompt's chunk

  std::array<bool, 4> runs{true, true, true, true};  // by Part: what it can execute at all
  DevicePower power;
  double log_error = 0.15;           // standard deviation of log(true time / predicted) before anything was measured
  std::vector<std::string> guesses;  // fields that are no measurement and no specification: "power"

  bool Guessed(std::string_view field) const;
  bool Runs(Part part) const { return runs[static_cast<size_t>(part)]; }
  // Rows that a step of `rows` costs. REQUIRES: rows >= 1.
  int64_t PaddedRows(int64_t rows) const;
  // Of products with these weights.
  double GemmTflops(std::string_view weights, double rows, Phase phase = Phase::kPrefill) const;
};

// Between two memories, one way.
struct CopyRate {
  SpaceId from = kHostSpace, to = kHostSpace;
  double gbs = 0;
  double latency_us = 0;
};

struct MachineProfile {
  std::string id;      // "strix_point_hx370", or this machine's identity
  std::string source;  // "measured", "published", "priors"
  std::vector<DeviceProfile> devices;
  double dram_gbs = 0;          // that the devices of the host's space can draw together; 0 = no limit known
  double corun_slowdown = 1.1;  // of the products of two devices that work at once, beside the power they share
  double power_budget_w = 0;    // that devices of one package share; 0 = not known, or no limit
  double base_w = 0;            // of the package beside its devices; see ViewPower
  std::vector<CopyRate> copies;

  // Index of a device; -1 if there is none.
  int Find(std::string_view device_id) const;
  // 0 within a space. Between two spaces without a rate of their own the bytes go through the host's.
  double CopyMs(SpaceId from, SpaceId to, double bytes) const;
  bool OneSpace() const;
};

// The same machine with the watts of every device as `source` would tell them. A package reading is the rail's plus
// base_w, which the machine then takes as a whole while anything runs; converted watts are marked kModelled.
// With kUnavailable: the source that all devices share if there is one, else package.
struct PowerView {
  MachineProfile machine;
  PowerSource source = PowerSource::kUnavailable;  // of all joules that come out
  bool converted = false;                          // some watts were read elsewhere
  bool known = false;                              // every device has watts
};
PowerView ViewPower(MachineProfile machine, PowerSource source);

// Errors of fields that no device can have (no curve, no bandwidth, buckets that fall), named.
Status CheckProfile(const MachineProfile& machine);

}  // namespace lem
