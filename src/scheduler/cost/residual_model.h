// The learned part of the cost model: gradient-boosted regression trees that predict log(measured / roofline) of a
// part's step from its shape. One model a device; trained in well under a second from some hundreds of measurements,
// a prediction takes about a microsecond.
//
// Immutable once trained; thread-safe to read.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lem {

// What the residual may depend on. All are logarithms or small numbers, so that one split means the same at any scale.
enum class Feature : uint8_t {
  kPart,        // as Part is numbered
  kDecode,      // 0 or 1
  kLogRows,     // log2, as for all below
  kLogPadding,  // rows computed over rows asked for
  kLogSequences,
  kLogContext,
  kLogFlops,      // of products
  kLogBytes,      // of weights, keys and values
  kLogIntensity,  // operations a byte
  kLogHidden,
  kLogStepBytes,  // of weights, keys and values that the whole step reads: how cold caches are
  kLogGroup,      // operations of attention for an element of keys and values
  kLogAttention,  // time of attention over that of products
  kWeightBits,
  kExperts,         // 0 or 1
  kLogBusyDevices,  // that work at the same time
};
inline constexpr size_t kNumFeatures = 16;
using FeatureVector = std::array<float, kNumFeatures>;

struct ResidualRow {
  FeatureVector features{};
  float log_ratio = 0;  // of measured over the roofline's prediction
  float weight = 1;     // of the measurement
};

struct ResidualTraining {
  int num_trees = 120;
  int depth = 4;               // of a tree
  double learning_rate = 0.1;  // of the remaining error that a tree takes away
  double min_leaf_weight = 3;  // of the rows in a leaf
};

class ResidualModel {
 public:
  // Predicts 0 for everything.
  ResidualModel() = default;
  static ResidualModel Train(std::span<const ResidualRow> rows, const ResidualTraining& training = {});

  double Predict(const FeatureVector& features) const;
  bool empty() const { return trees_.empty() && base_ == 0; }

  std::string ToJson() const;
  // Errors: InvalidArgument (another form, a tree that refers outside itself).
  static Result<ResidualModel> FromJson(std::string_view json);

 private:
  // A node of a tree; children are at left and left + 1. A leaf has left == 0: the root is no one's child.
  struct Node {
    int32_t left = 0;
    int32_t feature = 0;
    float threshold = 0;  // features below it go left
    float value = 0;      // of a leaf
  };
  using Tree = std::vector<Node>;
  class Trainer;

  double base_ = 0;
  std::vector<Tree> trees_;
};

}  // namespace lem
