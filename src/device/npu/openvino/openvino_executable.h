// Runs a compiled segment on OpenVINO: cuts a step into the rows of its graphs, packs sequences into them, gathers
// their past, and stores the new keys and values.
#pragma once

#include <memory>
#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "device/npu/npu_step.h"
#include "device/npu/openvino/openvino_program.h"

namespace lem {

// Not thread-safe: one run at a time.
class OpenVinoExecutable : public Executable {
 public:
  OpenVinoExecutable(std::shared_ptr<OpenVinoProgram> program, ThreadPool& pool, const KernelTable& kernels);

  // Errors: of the runtime, and of compiling a graph that was not needed before.
  Status Run(const Bindings& bindings);
  OpenVinoProgram& program() const { return *program_; }

 private:
  // Where positions of a sequence's past lie in the context of a graph.
  struct PastSpan {
    size_t sequence = 0;      // of the piece
    int64_t first_block = 0;  // of its table
    int64_t num_positions = 0;
    int64_t context_begin = 0;
  };
  // The past as one window of attention sees it.
  struct Past {
    std::vector<PastSpan> spans;
    int64_t num_positions = 0;
  };
  // Keys and values of one attention op as the graph reads them.
  struct PastTensors {
    AlignedVector<uint16_t> keys, values;
    int64_t context = 0;  // that they are laid out for
    int64_t used = 0;     // positions from here on are zero
  };

  Status RunTokens(const Bindings& bindings);
  Status RunPiece(const Bindings& bindings, const NpuPiece& piece, int64_t bucket);
  Status RunOutputs(const Bindings& bindings);
  Status RunGraph(const Bindings& bindings, const NpuPiece& piece, OpenVinoProgram::CompiledGraph& graph, Rows rows,
                  int64_t bucket);

  int64_t RowsThatFit(const Bindings& bindings, int64_t row_begin, int64_t num_rows) const;
  std::vector<Past> FindPast(const NpuPiece& piece) const;
  void Embed(const Bindings& bindings, const NpuPiece& piece, int64_t bucket);
  void Select(const Bindings& bindings, const NpuPiece& piece);
  void PrepareRopes(const NpuPiece& piece, int64_t bucket);
  void PrepareMask(const NpuPiece& piece, const Past& past, int64_t window, int64_t bucket, int64_t context,
                   AlignedVector<float>& mask) const;
  void GatherPast(const Bindings& bindings, const NpuPiece& piece, const std::vector<Past>& past, int64_t context);
  void StoreKv(const Bindings& bindings, const NpuPiece& piece);
  KvView ViewOf(const Bindings& bindings, const SequenceRows& sequence, int32_t layer) const;

  const Graph& graph() const { return *program_->model().graph; }
  int64_t cols(ValueId id) const { return graph().values[static_cast<size_t>(id)].cols; }
  bool IsBoundary(ValueId id) const { return is_boundary_[static_cast<size_t>(id)]; }
  // Memory of our own for so many rows of a value.
  float* Staging(ValueId id, int64_t rows);

  const std::shared_ptr<OpenVinoProgram> program_;
  ThreadPool& pool_;
  const KernelTable& kernels_;
  std::vector<bool> is_boundary_;       // [values]
  std::vector<const EmbedOp*> embeds_;  // of the segment
  std::vector<const SelectOutputsOp*> selects_;

  std::vector<AlignedVector<float>> staging_;  // [values]
  std::vector<float*> at_;                     // [values] where the current piece's rows are
  std::vector<AlignedVector<float>> ropes_;    // of the tokens' part: cosines, then sines
  std::vector<AlignedVector<float>> masks_;    // [windows]
  std::vector<PastTensors> past_;              // [attentions]
};

}  // namespace lem
