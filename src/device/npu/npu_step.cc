#include "device/npu/npu_step.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace lem {

NpuPiece MakeNpuPiece(const Bindings& bindings, int64_t row_begin, int64_t num_rows) {
  NpuPiece piece{.row_begin = row_begin, .num_rows = num_rows};
  const int64_t row_end = row_begin + num_rows;
  for (const SequenceRows& sequence : bindings.sequences) {
    const int64_t begin = std::max(sequence.row_begin, row_begin);
    const int64_t end = std::min(sequence.row_begin + sequence.num_rows, row_end);
    if (begin >= end) continue;
    const int64_t first = sequence.first_position + begin - sequence.row_begin;
    piece.sequences.push_back({begin - row_begin, end - begin, first, sequence.block_table});
    piece.max_context = std::max(piece.max_context, first + end - begin);
  }
  const auto lower = std::ranges::lower_bound(bindings.output_rows, row_begin);
  const auto upper = std::ranges::lower_bound(bindings.output_rows, row_end);
  piece.output_begin = lower - bindings.output_rows.begin();
  piece.num_outputs = upper - lower;
  return piece;
}

float* BoundaryRows(const Bindings& bindings, const Graph& graph, ValueId id, const NpuPiece& piece) {
  const auto found = std::ranges::find(bindings.values, id, &ValueBinding::value);
  LEM_CHECK(found != bindings.values.end()) << "value " << id << " crosses the segment and is not bound";
  const Value& value = graph.values[static_cast<size_t>(id)];
  return found->data + (value.rows == Rows::kTokens ? piece.row_begin : piece.output_begin) * value.cols;
}

void EmbedRow(const BoundGraph& model, const EmbedOp& op, int32_t token, const KernelTable& kernels, float* out) {
  const WeightHandle handle = model.weights[static_cast<size_t>(op.table)];
  const WeightDesc& desc = model.weight_table->desc(handle);
  const std::byte* table = model.weight_table->host_bytes(handle).data();
  kernels.dequantize_row(desc.dtype, table + static_cast<size_t>(token) * desc.row_bytes, out, desc.cols);
  if (op.scale != 1.0f) kernels.scale(out, op.scale, desc.cols);
}

void RotationRow(std::span<const double> frequencies, int64_t position, float* cosines, float* sines, size_t stride) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = static_cast<double>(position) * frequencies[i];
    cosines[i * stride] = static_cast<float>(std::cos(angle));
    sines[i * stride] = static_cast<float>(std::sin(angle));
  }
}

}  // namespace lem
