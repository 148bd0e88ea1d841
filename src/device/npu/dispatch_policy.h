// Cuts a step of any length into the lengths that static graphs were compiled for. Pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace lem {

struct NpuChunk {
  int64_t bucket = 0;  // rows of the graph
  int64_t rows = 0;    // of them in use
  bool operator==(const NpuChunk&) const = default;
};

// What a run of a bucket costs, dispatch included, and what changing from one bucket's graph to another's does.
struct NpuBucketCosts {
  std::span<const int64_t> buckets;  // rising
  std::span<const double> seconds;   // [buckets]
  double switch_s = 0;
};

// The cheapest way to compute `rows` rows: whole buckets, then a remainder in a padded bucket, smaller ones, or
// several. Larger buckets come first, so that each graph is switched to once; only the last run of a bucket may be
// padded. REQUIRES: at least one bucket; rows >= 0.
std::vector<NpuChunk> CutIntoBuckets(int64_t rows, const NpuBucketCosts& costs);

// What those chunks cost.
double SecondsOf(std::span<const NpuChunk> chunks, const NpuBucketCosts& costs);

}  // namespace lem
