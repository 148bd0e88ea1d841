// Runs a compiled CPU program: owns its activations and scratch, splits every step over the pool.
#pragma once

#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "device/cpu/cpu_program.h"

namespace lem {

// Not thread-safe: one run at a time.
class CpuExecutable : public Executable {
 public:
  CpuExecutable(CpuProgram program, ThreadPool& pool, const KernelTable& kernels);

  void Run(const Bindings& bindings);

 private:
  // A piece of attention work: some query rows of one sequence for one key head.
  struct AttentionTile {
    const SequenceRows* sequence = nullptr;
    int64_t kv_head = 0;
    int64_t row_begin = 0, row_end = 0;      // within the sequence's rows
    int64_t chunk_begin = 0, chunk_end = 0;  // that any of the rows sees
    int64_t first_slot = 0;                  // of the chunks' states, where each has one
  };

  void Prepare(const Bindings& bindings);
  void Execute(const CpuEmbed& step);
  void Execute(const CpuRmsNorm& step);
  void Execute(const CpuLinear& step);
  void Execute(const CpuAttention& step);
  void Execute(const CpuAdd& step);
  void Execute(const CpuSelectOutputs& step);
  void Execute(const CpuSoftcap& step);
  void Execute(const CpuConcat& step);

  void DequantizeRow(const CpuWeight& weight, int64_t row, float* out, std::byte* row_buffer) const;
  void QuantizeInput(const CpuLinear& step);
  void RunLinearPart(const CpuLinear& step, const CpuLinearPart& part, int64_t n_begin, int64_t n_end, float* scratch);
  void RotateAndStore(const CpuAttention& step);
  void MakeTiles(const CpuAttention& step);
  AttentionArgs ArgsFor(const CpuAttention& step, const SequenceRows& sequence) const;
  void FinishTile(const CpuAttention& step, const AttentionTile& tile, const float* state);
  void AttendWholeTiles(const CpuAttention& step);
  void AttendChunkByChunk(const CpuAttention& step);

  // Calls body(begin, end) over [0, num_rows), in parallel when there is enough work to pay for a join.
  template <typename Body>
  void ForRows(int64_t num_rows, int64_t work_per_row, Body body);

  float* data(BufferId buffer) const { return pointers_[static_cast<size_t>(buffer)]; }
  int64_t num_rows(Rows rows) const { return rows == Rows::kTokens ? num_tokens_ : num_outputs_; }
  float* scratch(int thread_idx) { return scratch_.data() + static_cast<size_t>(thread_idx) * scratch_floats_; }

  const CpuProgram program_;
  ThreadPool& pool_;
  const KernelTable& kernels_;

  const Bindings* bindings_ = nullptr;  // of the current run
  int64_t num_tokens_ = 0, num_outputs_ = 0;
  std::vector<AlignedVector<float>> storage_;      // [buffers] empty for bound ones
  std::vector<float*> pointers_;                   // [buffers] for the current run
  std::vector<AlignedVector<float>> rope_values_;  // [ropes] (cos, sin) pairs, [T, rotary_dim / 2, 2]
  std::vector<AttentionTile> tiles_;
  AlignedVector<float> partial_states_;
  AlignedVector<std::byte> integer_buffer_;  // holds integer_rows_
  IntegerRows integer_rows_;                 // of the linear step under way
  size_t scratch_floats_ = 0;                // per thread
  AlignedVector<float> scratch_;
};

}  // namespace lem
