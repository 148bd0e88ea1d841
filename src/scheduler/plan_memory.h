// What pairs of candidates ask of the devices' memories. Internal to the placement search.
#pragma once

#include <array>
#include <vector>

#include "scheduler/placement_search.h"

namespace lem {

class PlanMemory {
 public:
  using Bytes = std::array<double, kMaxDevices>;  // by device

  // All must outlive it.
  PlanMemory(const CostModel& costs, const ModelWork& model, const RequestShape& request);

  // Weights that either phase needs there, keys and values.
  Bytes Of(const Candidate& prefill, const Candidate& decode) const;
  bool Fits(const Candidate& prefill, const Candidate& decode) const;
  // The same candidate in both phases; takes some additions unless rows are cut.
  bool Fits(const Candidate& candidate) const;
  // False if anything fits.
  bool may_bind() const { return may_bind_; }

  // What it takes until the decode's devices have the keys and values that the prefill's made.
  struct KvMove {
    double ms = 0, bytes = 0;
  };
  KvMove MoveKv(const Candidate& prefill, const Candidate& decode) const;

 private:
  bool FindIfItMayBind() const;
  double tokens() const;

  const CostModel& costs_;
  const ModelWork& model_;
  const RequestShape& request_;
  bool one_space_ = true, may_bind_ = false;
  // Of the layers before, [num_layers + 1].
  std::vector<double> attention_bytes_, kv_elements_, feed_forward_bytes_;
};

}  // namespace lem
