// What measurements taught about predictions: a factor for each (device, kind of work, phase, bucket of rows), learned
// online from measured / predicted. What was seen of one bucket is borrowed, in part, by its neighbours: the other
// buckets of its kind, and the other kinds of its device.
//
// Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "graph/plan.h"

namespace lem {

// The parts of a model, and what happens between them.
enum class CostKind : uint8_t {
  kEmbedding,
  kAttention,
  kFeedForward,
  kHead,
  kSwitch,  // beginning a segment, waiting for its end, copies
  kJoint,   // products that two devices work on at the same time
};
inline constexpr size_t kNumCostKinds = 6;

struct CorrectionKey {
  int device = 0;  // index into MachineProfile::devices
  CostKind kind = CostKind::kEmbedding;
  Phase phase = Phase::kPrefill;
  int bucket = 0;  // RowBucketOf
};
// Rows 1, 2, 3-4, 5-8, ... are buckets 0, 1, 2, 3, ...
int RowBucketOf(double rows);

struct Correction {
  double log_factor = 0;  // of measured over predicted
  double log_error = 0;   // standard deviation of what is still not known
  int64_t count = 0;      // observations of this very bucket
};

class CorrectionTable {
 public:
  // prior_log_error[device]: how far off predictions are before anything was measured.
  explicit CorrectionTable(std::vector<double> prior_log_error);

  // log_ratio: of measured over predicted without correction. Sixteen-fold errors and more are cut: they are no speeds.
  void Observe(const CorrectionKey& key, double log_ratio);
  Correction Lookup(const CorrectionKey& key) const;
  // Every bucket of a kind has this factor, for certain: for worlds that a simulator makes up.
  void Fix(int device, CostKind kind, Phase phase, double log_factor);
  // A device was not observed for a while: of what it showed lately, `share` (0 to 1) gives way to what it usually
  // shows, until it is observed again. So that one slow minute does not keep work away for ever.
  void Relax(int device, double share) { devices_[static_cast<size_t>(device)].relaxed = share; }
  // Forgets a device: its driver, clocks or profile changed.
  void Reset(int device);

  // Mean of |log(measured / predicted)| after correction over the latest observations; 0 before the first.
  double recent_error() const { return recent_error_; }
  int64_t num_observations() const { return num_observations_; }

  std::string ToJson() const;
  // Errors: InvalidArgument (another form, another number of devices).
  Status ReadJson(std::string_view json);

 private:
  static constexpr size_t kNumBuckets = 16;
  // Running mean and spread of log ratios, which follows steps: after kStepSurprises observations far off on one side
  // the old mean is dropped.
  struct Level {
    double mean = 0, variance = 0;
    int64_t count = 0;
    int surprises = 0;  // in a row; the sign is their side
    double surprise_sum = 0;
    double steady = 0;  // a mean that steps hardly move
    int64_t steady_count = 0;
    void Add(double log_ratio);
    double Mean(double relaxed) const { return mean + relaxed * (steady - mean); }
  };
  struct KindLevels {
    Level all;
    std::array<Level, kNumBuckets> buckets;
    bool fixed = false;
    double fixed_log_factor = 0;
  };
  struct DeviceLevels {
    Level all;
    std::array<KindLevels, kNumCostKinds * 2> kinds;
    double relaxed = 0;
  };
  static size_t KindIndex(CostKind kind, Phase phase) {
    return static_cast<size_t>(kind) * 2 + static_cast<size_t>(phase);
  }

  std::vector<double> prior_log_error_;
  std::vector<DeviceLevels> devices_;
  double recent_error_ = 0;
  int64_t num_observations_ = 0;
};

}  // namespace lem
