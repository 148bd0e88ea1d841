// What every executable of static graphs does with a step around its graphs: pieces of it, the rows of boundary values,
// embeddings and rotations. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/device.h"
#include "kernels/kernels.h"

namespace lem {

// Some of a step's rows, of one sequence or of several.
struct NpuPiece {
  int64_t row_begin = 0, num_rows = 0;
  int64_t output_begin = 0, num_outputs = 0;  // in the step's outputs
  std::vector<SequenceRows> sequences;        // row_begin counted from the piece's first row
  int64_t max_context = 0;                    // of its sequences, rows of the piece included
};
NpuPiece MakeNpuPiece(const Bindings& bindings, int64_t row_begin, int64_t num_rows);

// The piece's first row of a value that crosses the segment's boundary. REQUIRES: it is bound.
float* BoundaryRows(const Bindings& bindings, const Graph& graph, ValueId id, const NpuPiece& piece);

// A table look-up is no work for an NPU: the driver gathers embeddings from the model file's own table.
void EmbedRow(const BoundGraph& model, const EmbedOp& op, int32_t token, const KernelTable& kernels, float* out);

// The rotation of a position: element i of each at [i * stride].
void RotationRow(std::span<const double> frequencies, int64_t position, float* cosines, float* sines, size_t stride);

}  // namespace lem
