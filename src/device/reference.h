// The scalar reference: runs a whole graph over one sequence, op by op, in plain loops. Slow and obvious; every device
// is measured against it.
#pragma once

#include <span>
#include <vector>

#include "device/device.h"

namespace lem {

// Logits of every token, [tokens.size(), vocab_size]. float32 values, double sums, keys and values kept in float32.
// REQUIRES: token ids inside the vocabulary; weights that tensor/dequantize.h knows.
std::vector<float> RunReference(const BoundGraph& model, std::span<const int32_t> tokens);

}  // namespace lem
