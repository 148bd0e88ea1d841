#include "device/npu/dispatch_policy.h"

#include <algorithm>
#include <limits>

namespace lem {

std::vector<NpuChunk> CutIntoBuckets(int64_t rows, const NpuBucketCosts& costs) {
  const size_t num_buckets = costs.buckets.size();
  const auto n = static_cast<size_t>(rows);
  const double kNever = std::numeric_limits<double>::infinity();
  // best[b][t]: seconds for t more rows with buckets 0..b, the graph of bucket b being the one that is loaded.
  // enter[b][t]: the same when it has yet to be switched to, or is passed by.
  std::vector<std::vector<double>> stay(num_buckets, std::vector<double>(n + 1, kNever)), enter = stay;
  for (size_t b = 0; b < num_buckets; ++b) {
    const auto size = static_cast<size_t>(costs.buckets[b]);
    for (size_t t = 0; t <= n; ++t) {
      if (t == 0) {
        stay[b][t] = enter[b][t] = 0;
        continue;
      }
      const double again = costs.seconds[b] + stay[b][t > size ? t - size : 0];
      const double skip = b > 0 ? enter[b - 1][t] : kNever;
      stay[b][t] = std::min(again, skip);
      enter[b][t] = std::min(again + costs.switch_s, skip);
    }
  }
  std::vector<NpuChunk> chunks;
  bool loaded = false;
  size_t left = n;
  for (size_t b = num_buckets; b-- > 0 && left > 0;) {
    const auto size = static_cast<size_t>(costs.buckets[b]);
    loaded = false;
    while (left > 0) {
      const double again = costs.seconds[b] + stay[b][left > size ? left - size : 0] + (loaded ? 0.0 : costs.switch_s);
      const double skip = b > 0 ? enter[b - 1][left] : kNever;
      if (skip < again) break;
      const size_t used = std::min(left, size);
      chunks.push_back({costs.buckets[b], static_cast<int64_t>(used)});
      left -= used;
      loaded = true;
    }
  }
  return chunks;
}

double SecondsOf(std::span<const NpuChunk> chunks, const NpuBucketCosts& costs) {
  double seconds = 0;
  int64_t loaded = 0;
  for (const NpuChunk& chunk : chunks) {
    const auto idx = static_cast<size_t>(std::ranges::find(costs.buckets, chunk.bucket) - costs.buckets.begin());
    seconds += costs.seconds[idx] + (chunk.bucket != loaded ? costs.switch_s : 0.0);
    loaded = chunk.bucket;
  }
  return seconds;
}

}  // namespace lem
