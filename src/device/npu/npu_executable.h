// Runs a compiled segment on the emulated NPU: cuts a step into the lengths of its graphs and computes each piece.
#pragma once

#include <memory>
#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "device/npu/dispatch_policy.h"
#include "device/npu/npu_program.h"
#include "device/npu/npu_step.h"

namespace lem {

// One dispatch as it was run.
struct NpuDispatch {
  const StaticGraph* graph = nullptr;
  int64_t rows = 0;
  NpuCost cost;  // without dispatch and switches
};

// Not thread-safe: one run at a time. Rows that only pad a bucket cost virtual time and are not computed.
class NpuExecutable : public Executable {
 public:
  NpuExecutable(std::shared_ptr<NpuProgram> program, ThreadPool& pool, const KernelTable& kernels)
      : program_(std::move(program)), pool_(pool), kernels_(kernels) {}

  // Errors: of laying out a graph for a bucket that was not needed before.
  Result<std::vector<NpuDispatch>> Run(const Bindings& bindings);
  const std::shared_ptr<NpuProgram>& program() const { return program_; }

 private:
  Result<std::vector<NpuChunk>> Cut(const Bindings& bindings) const;
  Result<NpuDispatch> RunPiece(const Bindings& bindings, const NpuPiece& piece, int64_t bucket);
  void PrepareRopes(const NpuPiece& piece);

  void Execute(const EmbedOp& op);
  void Execute(const RmsNormOp& op);
  void Execute(const LinearOp& op);
  void Execute(const RopeOp& op);
  void Execute(const PagedAttentionOp& op);
  void Execute(const GluOp& op);
  void Execute(const AddOp& op);
  void Execute(const SelectOutputsOp& op);
  void Execute(const SoftcapOp& op);
  void Execute(const ConcatOp& op);

  template <typename Body>
  void ForRows(int64_t rows, Body body);
  const Value& value(ValueId id) const { return program_->model().graph->values[static_cast<size_t>(id)]; }
  int64_t cols(ValueId id) const { return value(id).cols; }
  int64_t rows(ValueId id) const { return value(id).rows == Rows::kTokens ? piece_->num_rows : piece_->num_outputs; }
  float* data(ValueId id) const { return pointers_[static_cast<size_t>(id)]; }
  void CopyTo(ValueId from, ValueId to);

  const std::shared_ptr<NpuProgram> program_;
  ThreadPool& pool_;
  const KernelTable& kernels_;

  const Bindings* bindings_ = nullptr;  // of the current run
  const NpuPiece* piece_ = nullptr;
  std::vector<float*> pointers_;                   // [values]
  AlignedVector<float> activations_;               // the graph's activation memory
  std::vector<AlignedVector<float>> rope_values_;  // [ropes] (cos, sin) pairs, [rows, rotary_dim / 2, 2]
  Int8Rows int8_rows_;
  AlignedVector<float> bf16_rows_;
  AlignedVector<float> scratch_;  // of every thread, for attention
};

}  // namespace lem
