#include "scheduler/cost/correction.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/json.h"

namespace lem {
namespace {

// An observation weighs at least this much, so that drift is followed within about ten of them.
constexpr double kMinWeight = 0.15;
// Repeated measurements of one thing differ by some percent; less spread than this is luck.
constexpr double kNoise = 0.03;
constexpr double kSurpriseDeviations = 4;
constexpr int kStepSurprises = 3;
constexpr double kMaxLogRatio = 2.77;  // 16x
// Observations after which a level's own mean has half the say.
constexpr double kHalfTrust = 0.3;
// Of what one kind of work taught, the others of the device believe this much: drivers and clocks are common to them,
// kernels are not.
constexpr double kDeviceShare = 0.35;
constexpr double kMinSteadyWeight = 0.02;  // of the newest in what a device usually shows
constexpr double kErrorMemory = 0.05;      // weight of the newest in recent_error

double Trust(int64_t count) {
  const auto n = static_cast<double>(count);
  return n / (n + kHalfTrust);
}

}  // namespace

int RowBucketOf(double rows) {
  const double whole = std::clamp(std::ceil(rows), 1.0, 65536.0);
  return static_cast<int>(std::bit_width(static_cast<uint64_t>(whole) - 1));
}

void CorrectionTable::Level::Add(double log_ratio) {
  ++steady_count;
  steady += std::max(1.0 / static_cast<double>(steady_count), kMinSteadyWeight) * (log_ratio - steady);
  const double off = log_ratio - mean;
  if (count >= kStepSurprises && std::abs(off) > kSurpriseDeviations * std::max(std::sqrt(variance), kNoise)) {
    const int side = off > 0 ? 1 : -1;
    if (surprises * side < 0) surprises = 0, surprise_sum = 0;
    surprises += side;
    surprise_sum += log_ratio;
    if (surprises * side == kStepSurprises) {
      mean = surprise_sum / kStepSurprises;
      variance = 0;
      count = kStepSurprises;
      surprises = 0, surprise_sum = 0;
    }
    return;
  }
  surprises = 0;
  surprise_sum = 0;
  ++count;
  const double weight = std::max(1.0 / static_cast<double>(count), kMinWeight);
  mean += weight * off;
  variance = (1 - weight) * (variance + weight * off * off);
}

CorrectionTable::CorrectionTable(std::vector<double> prior_log_error)
    : prior_log_error_(std::move(prior_log_error)), devices_(prior_log_error_.size()) {}

void CorrectionTable::Observe(const CorrectionKey& key, double log_ratio) {
  if (!std::isfinite(log_ratio)) return;
  const double ratio = std::clamp(log_ratio, -kMaxLogRatio, kMaxLogRatio);
  const double error = std::abs(ratio - Lookup(key).log_factor);
  recent_error_ += (num_observations_ == 0 ? 1 : kErrorMemory) * (error - recent_error_);
  ++num_observations_;
  DeviceLevels& device = devices_[static_cast<size_t>(key.device)];
  KindLevels& kind = device.kinds[KindIndex(key.kind, key.phase)];
  device.relaxed = 0;
  device.all.Add(ratio);
  kind.all.Add(ratio);
  kind.buckets[static_cast<size_t>(std::min<int>(key.bucket, kNumBuckets - 1))].Add(ratio);
}

Correction CorrectionTable::Lookup(const CorrectionKey& key) const {
  const DeviceLevels& device = devices_[static_cast<size_t>(key.device)];
  const KindLevels& kind = device.kinds[KindIndex(key.kind, key.phase)];
  if (kind.fixed) return {.log_factor = kind.fixed_log_factor};
  const Level& bucket = kind.buckets[static_cast<size_t>(std::min<int>(key.bucket, kNumBuckets - 1))];
  const double of_device = kDeviceShare * Trust(device.all.count);
  const double of_kind = Trust(kind.all.count);
  const double of_bucket = Trust(bucket.count);
  const double borrowed =
      of_kind * kind.all.Mean(device.relaxed) + (1 - of_kind) * of_device * device.all.Mean(device.relaxed);
  const double unknown = prior_log_error_[static_cast<size_t>(key.device)] * (1 - of_device / 2);
  // Buckets of one kind differ by less than kinds do: half of the prior's spread is theirs.
  const double without_bucket = std::max(unknown * (1 - of_kind / 2), kNoise);
  return {.log_factor = of_bucket * bucket.Mean(device.relaxed) + (1 - of_bucket) * borrowed,
          .log_error = of_bucket * std::max(std::sqrt(bucket.variance), kNoise) + (1 - of_bucket) * without_bucket,
          .count = bucket.count};
}

void CorrectionTable::Fix(int device, CostKind kind, Phase phase, double log_factor) {
  KindLevels& levels = devices_[static_cast<size_t>(device)].kinds[KindIndex(kind, phase)];
  levels.fixed = true;
  levels.fixed_log_factor = log_factor;
}

void CorrectionTable::Reset(int device) { devices_[static_cast<size_t>(device)] = {}; }

// {"devices":[[[kind, bucket, mean, variance, count], ...], ...]}. A kind is one of CostKind in one phase; bucket -1 is
// the kind as a whole, kind -1 the device.
std::string CorrectionTable::ToJson() const {
  JsonWriter out;
  out.BeginObject().Key("devices").BeginArray();
  for (const DeviceLevels& device : devices_) {
    out.BeginArray();
    const auto write = [&out](int64_t kind, int64_t bucket, const Level& level) {
      if (level.count == 0) return;
      out.BeginArray().Int(kind).Int(bucket).Double(level.mean).Double(level.variance).Int(level.count).EndArray();
    };
    write(-1, -1, device.all);
    for (size_t k = 0; k < device.kinds.size(); ++k) {
      write(static_cast<int64_t>(k), -1, device.kinds[k].all);
      for (size_t b = 0; b < kNumBuckets; ++b) {
        write(static_cast<int64_t>(k), static_cast<int64_t>(b), device.kinds[k].buckets[b]);
      }
    }
    out.EndArray();
  }
  return out.EndArray().EndObject().Take();
}

Status CorrectionTable::ReadJson(std::string_view json) {
  LEM_ASSIGN_OR_RETURN(const JsonValue root, ParseJson(json));
  const auto wrong = [] { return InvalidArgument("learned corrections: not in the form that this program writes"); };
  const JsonValue* list = root.is_object() ? root.get_object().if_contains("devices") : nullptr;
  if (list == nullptr || !list->is_array()) return wrong();
  const JsonArray& rows = list->get_array();
  if (rows.size() != devices_.size()) {
    return InvalidArgument("learned corrections are of {} devices; this machine has {}", rows.size(), devices_.size());
  }
  std::vector<DeviceLevels> devices(devices_.size());
  for (size_t d = 0; d < rows.size(); ++d) {
    if (!rows[d].is_array()) return wrong();
    for (const JsonValue& row : rows[d].get_array()) {
      if (!row.is_array() || row.get_array().size() != 5) return wrong();
      const JsonArray& cells = row.get_array();
      if (!cells[0].is_int64() || !cells[1].is_int64() || !cells[4].is_int64()) return wrong();
      if (!cells[2].is_number() || !cells[3].is_number()) return wrong();
      const int64_t kind = cells[0].get_int64(), bucket = cells[1].get_int64(), count = cells[4].get_int64();
      const auto mean = cells[2].to_number<double>(), variance = cells[3].to_number<double>();
      if (kind < -1 || kind >= static_cast<int64_t>(2 * kNumCostKinds) || bucket < -1 ||
          bucket >= static_cast<int64_t>(kNumBuckets) || count < 1 || !(std::abs(mean) <= kMaxLogRatio) ||
          !(variance >= 0)) {
        return wrong();
      }
      const Level level{.mean = mean, .variance = variance, .count = count, .steady = mean, .steady_count = count};
      if (kind < 0) {
        devices[d].all = level;
        continue;
      }
      KindLevels& levels = devices[d].kinds[static_cast<size_t>(kind)];
      (bucket < 0 ? levels.all : levels.buckets[static_cast<size_t>(bucket)]) = level;
    }
  }
  devices_ = std::move(devices);
  return OkStatus();
}

}  // namespace lem
