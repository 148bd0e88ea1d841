#include "device/cpu/cpu_executable.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/integer_math.h"

namespace lem {
namespace {

// Floats of work below which a fork/join (about 1 us) costs more than it saves.
constexpr int64_t kMinParallelWork = int64_t{16} * 1024;
// Tasks for each thread: enough for unequal cores to balance, few enough that claiming stays cheap.
constexpr int64_t kTasksPerThread = 6;
// Chunks of attention from which on their states are merged in parallel.
constexpr int64_t kMinParallelMerges = 16;
// Up to this many rows the weights, which come from memory, take the time, and tasks are long runs of them; above,
// tasks of a panel balance better.
constexpr int64_t kFewRows = 16;

size_t RoundUpToLine(size_t floats) { return (floats + 15) / 16 * 16; }

size_t MaxHeadDim(const CpuProgram& program) {
  int64_t head_dim = 0;
  for (const CpuStep& step : program.steps) {
    if (const auto* attention = std::get_if<CpuAttention>(&step)) head_dim = std::max(head_dim, attention->head_dim);
  }
  return static_cast<size_t>(head_dim);
}

}  // namespace

CpuExecutable::CpuExecutable(CpuProgram program, ThreadPool& pool, const KernelTable& kernels)
    : program_(std::move(program)),
      pool_(pool),
      kernels_(kernels),
      storage_(program_.buffers.size()),
      pointers_(program_.buffers.size()),
      rope_values_(program_.ropes.size()) {
  const size_t states = 2 * static_cast<size_t>(kAttentionMaxStates) * (MaxHeadDim(program_) + 2);
  const size_t attention = RoundUpToLine(states) + static_cast<size_t>(AttentionScratchFloats());
  const auto linear = static_cast<size_t>(LinearScratchFloats(program_.max_k));
  scratch_floats_ = RoundUpToLine(std::max(attention, linear));
  scratch_.resize(scratch_floats_ * static_cast<size_t>(pool_.num_threads()));
}

void CpuExecutable::Run(const Bindings& bindings) {
  bindings_ = &bindings;
  Prepare(bindings);
  for (const CpuStep& step : program_.steps) {
    std::visit([this](const auto& s) { Execute(s); }, step);
  }
  bindings_ = nullptr;
}

template <typename Body>
void CpuExecutable::ForRows(int64_t rows, int64_t work_per_row, Body body) {
  if (rows * work_per_row < kMinParallelWork || rows < 2) {
    body(0, rows);
    return;
  }
  const int64_t per_task = std::max<int64_t>(1, rows / (kTasksPerThread * pool_.num_threads()));
  pool_.Run(DivideUp(rows, per_task),
            [&](int64_t task, int) { body(task * per_task, std::min(rows, (task + 1) * per_task)); });
}

void CpuExecutable::Prepare(const Bindings& bindings) {
  num_tokens_ = static_cast<int64_t>(bindings.tokens.size());
  num_outputs_ = static_cast<int64_t>(bindings.output_rows.size());
  for (size_t i = 0; i < program_.buffers.size(); ++i) {
    const CpuBuffer& buffer = program_.buffers[i];
    if (buffer.bound != kNone) {
      const auto found = std::ranges::find(bindings.values, buffer.bound, &ValueBinding::value);
      LEM_CHECK(found != bindings.values.end()) << "value " << buffer.bound << " crosses the segment and is not bound";
      pointers_[i] = found->data;
      continue;
    }
    const auto floats = static_cast<size_t>(num_rows(buffer.rows) * buffer.cols);
    if (storage_[i].size() < floats) storage_[i].resize(floats);
    pointers_[i] = storage_[i].data();
  }
  for (size_t r = 0; r < program_.ropes.size(); ++r) {
    const std::vector<double>& frequencies = program_.ropes[r].frequencies;
    const size_t pairs = frequencies.size();
    rope_values_[r].resize(std::max(rope_values_[r].size(), static_cast<size_t>(num_tokens_) * pairs * 2));
    for (const SequenceRows& sequence : bindings.sequences) {
      // A sine costs about as much as 16 floats of other work.
      ForRows(sequence.num_rows, static_cast<int64_t>(pairs) * 16, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          float* out = rope_values_[r].data() + static_cast<size_t>(sequence.row_begin + row) * pairs * 2;
          const auto position = static_cast<double>(sequence.first_position + row);
          for (size_t i = 0; i < pairs; ++i) {
            out[2 * i] = static_cast<float>(std::cos(position * frequencies[i]));
            out[2 * i + 1] = static_cast<float>(std::sin(position * frequencies[i]));
          }
        }
      });
    }
  }
}

void CpuExecutable::DequantizeRow(const CpuWeight& weight, int64_t row, float* out, std::byte* row_buffer) const {
  const std::byte* bytes = weight.data + static_cast<size_t>(row) * weight.row_bytes;
  if (weight.layout == Layout::kLanes16) {
    const size_t strip_bytes = LaneStripBytes(weight.dtype, weight.cols);
    UnpackLaneRow(weight.dtype, weight.data + static_cast<size_t>(row / kLaneRows) * strip_bytes, row % kLaneRows,
                  weight.cols, row_buffer);
    bytes = row_buffer;
  }
  kernels_.dequantize_row(weight.dtype, bytes, out, weight.cols);
}

void CpuExecutable::Execute(const CpuEmbed& step) {
  ForRows(num_tokens_, step.table.cols, [&](int64_t begin, int64_t end) {
    std::vector<std::byte> row_buffer(step.table.row_bytes);
    for (int64_t row = begin; row < end; ++row) {
      float* out = data(step.out) + row * step.table.cols;
      DequantizeRow(step.table, bindings_->tokens[static_cast<size_t>(row)], out, row_buffer.data());
      if (step.scale != 1.0f) kernels_.scale(out, step.scale, step.table.cols);
    }
  });
}

void CpuExecutable::Execute(const CpuRmsNorm& step) {
  ForRows(num_rows(step.rows), step.cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * step.cols; i < end * step.cols; i += step.group) {
      kernels_.rms_norm(data(step.in) + i, step.weight, step.eps, data(step.out) + i, step.group);
    }
  });
}

void CpuExecutable::RunLinearPart(const CpuLinear& step, const CpuLinearPart& part, int64_t n_begin, int64_t n_end,
                                  float* thread_scratch) {
  if (HasLanes(part.weight.dtype)) {
    IntegerLinearArgs args;
    args.weight = part.weight.data;
    args.layout = part.weight.layout;
    args.row_bytes = part.weight.row_bytes;
    args.dtype = part.weight.dtype;
    args.n = part.weight.rows;
    args.in = integer_rows_;
    args.out = data(part.out);
    args.out_stride = part.weight.rows;
    args.bias = part.bias;
    kernels_.integer_linear(args, n_begin, n_end, thread_scratch);
    return;
  }
  LinearArgs args;
  args.weight = part.weight.data;
  args.row_bytes = part.weight.row_bytes;
  args.dtype = part.weight.dtype;
  args.k = part.weight.cols;
  args.in = data(step.in);
  args.in_stride = part.weight.cols;
  args.out = data(part.out);
  args.out_stride = part.weight.rows;
  args.num_rows = num_rows(step.rows);
  args.bias = part.bias;
  for (int64_t n = n_begin; n < n_end; n += kLinearPanelRows) {
    kernels_.linear(args, n, std::min(n_end, n + kLinearPanelRows), thread_scratch);
  }
}

// The input of a step with quantised weights, as integers.
void CpuExecutable::QuantizeInput(const CpuLinear& step) {
  const auto needs_integers = [](const CpuLinearPart& part) { return HasLanes(part.weight.dtype); };
  if (std::ranges::none_of(step.parts, needs_integers)) return;
  const int64_t rows = num_rows(step.rows), k = step.parts[0].weight.cols;
  const size_t bytes = IntegerRows::BufferBytes(rows, k);
  if (integer_buffer_.size() < bytes) integer_buffer_.resize(bytes);
  integer_rows_ = MakeIntegerRows(integer_buffer_.data(), rows, k, kernels_);
  ForRows(rows, k, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) kernels_.quantize_row(data(step.in) + row * k, integer_rows_, row);
  });
}

void CpuExecutable::Execute(const CpuLinear& step) {
  const int64_t rows = num_rows(step.rows);
  if (rows == 0) return;
  QuantizeInput(step);
  // A GLU's two parts are cut at the same places and share a task; other parts have tasks of their own.
  const size_t num_cut_parts = step.glu ? 1 : step.parts.size();
  int64_t total = 0;
  for (size_t p = 0; p < num_cut_parts; ++p) total += step.parts[p].weight.rows;
  int64_t per_task = kLinearPanelRows;
  if (rows <= kFewRows) {
    const int64_t share = total / (kTasksPerThread * pool_.num_threads());
    per_task = std::max(kLinearPanelRows, share / kLinearPanelRows * kLinearPanelRows);
  }
  int64_t num_tasks = 0;
  for (size_t p = 0; p < num_cut_parts; ++p) num_tasks += DivideUp(step.parts[p].weight.rows, per_task);

  pool_.Run(num_tasks, [&](int64_t task, int thread_idx) {
    size_t p = 0;
    for (; task >= DivideUp(step.parts[p].weight.rows, per_task); ++p) {
      task -= DivideUp(step.parts[p].weight.rows, per_task);
    }
    const int64_t n_total = step.parts[p].weight.rows;
    const int64_t n_begin = task * per_task;
    const int64_t n_end = std::min(n_total, n_begin + per_task);
    float* thread_scratch = scratch(thread_idx);
    RunLinearPart(step, step.parts[p], n_begin, n_end, thread_scratch);
    if (step.glu) {
      RunLinearPart(step, step.parts[1], n_begin, n_end, thread_scratch);
      const auto glu = *step.glu == Activation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
      for (int64_t row = 0; row < rows; ++row) {
        float* gate = data(step.parts[0].out) + row * n_total + n_begin;
        glu(gate, data(step.parts[1].out) + row * n_total + n_begin, gate, n_end - n_begin);
      }
    }
    if (step.residual != kNone) {
      for (int64_t row = 0; row < rows; ++row) {
        kernels_.add(data(step.parts[p].out) + row * n_total + n_begin, data(step.residual) + row * n_total + n_begin,
                     n_end - n_begin);
      }
    }
  });
}

void CpuExecutable::Execute(const CpuAdd& step) {
  ForRows(num_rows(step.rows), step.cols, [&](int64_t begin, int64_t end) {
    float* out = data(step.out) + begin * step.cols;
    const int64_t n = (end - begin) * step.cols;
    if (step.out != step.a) std::memcpy(out, data(step.a) + begin * step.cols, static_cast<size_t>(n) * sizeof(float));
    kernels_.add(out, data(step.b) + begin * step.cols, n);
  });
}

void CpuExecutable::Execute(const CpuSelectOutputs& step) {
  for (int64_t i = 0; i < num_outputs_; ++i) {
    std::memcpy(data(step.out) + i * step.cols,
                data(step.in) + bindings_->output_rows[static_cast<size_t>(i)] * step.cols,
                static_cast<size_t>(step.cols) * sizeof(float));
  }
}

void CpuExecutable::Execute(const CpuSoftcap& step) {
  const int64_t n = num_rows(step.rows) * step.cols;
  if (step.out != step.in) std::memcpy(data(step.out), data(step.in), static_cast<size_t>(n) * sizeof(float));
  kernels_.softcap(data(step.out), step.cap, n);
}

void CpuExecutable::Execute(const CpuConcat& step) {
  const int64_t rows = num_rows(step.rows);
  int64_t offset = 0;
  for (const CpuConcat::Part& part : step.parts) {
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(data(step.out) + row * step.cols + offset, data(part.in) + row * part.cols,
                  static_cast<size_t>(part.cols) * sizeof(float));
    }
    offset += part.cols;
  }
}

// --- attention ---

void CpuExecutable::RotateAndStore(const CpuAttention& step) {
  const int64_t q_cols = step.num_heads * step.head_dim;
  const int64_t kv_cols = step.num_kv_heads * step.head_dim;
  const CpuRopeTable* rope = step.rope ? &program_.ropes[static_cast<size_t>(*step.rope)] : nullptr;
  for (const SequenceRows& sequence : bindings_->sequences) {
    const KvView kv = ArgsFor(step, sequence).kv;
    // Whole KV blocks to one task, so that no two threads write to one cache line of keys.
    const int64_t block_offset = sequence.first_position % kKvBlockTokens;
    const int64_t num_blocks = DivideUp(block_offset + sequence.num_rows, kKvBlockTokens);
    ForRows(num_blocks, kKvBlockTokens * (q_cols + kv_cols), [&](int64_t block_begin, int64_t block_end) {
      const int64_t begin = std::max<int64_t>(0, block_begin * kKvBlockTokens - block_offset);
      const int64_t end = std::min(sequence.num_rows, block_end * kKvBlockTokens - block_offset);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = sequence.row_begin + i;
        float* k = data(step.k) + row * kv_cols;
        if (rope != nullptr) {
          const float* cos_sin = rope_values_[static_cast<size_t>(*step.rope)].data() + row * rope->rotary_dim;
          float* q = data(step.q) + row * q_cols;
          for (int64_t h = 0; h < step.num_heads; ++h) {
            kernels_.rope(q + h * step.head_dim, cos_sin, rope->rotary_dim, rope->interleaved);
          }
          for (int64_t h = 0; h < step.num_kv_heads; ++h) {
            kernels_.rope(k + h * step.head_dim, cos_sin, rope->rotary_dim, rope->interleaved);
          }
        }
        kernels_.store_kv(kv, sequence.first_position + i, k, data(step.v) + row * kv_cols);
      }
    });
  }
}

AttentionArgs CpuExecutable::ArgsFor(const CpuAttention& step, const SequenceRows& sequence) const {
  AttentionArgs args;
  const size_t layer_offset = static_cast<size_t>(step.layer) * program_.kv.layer_bytes;
  args.kv = KvView{.base = bindings_->kv_base,
                   .block_bytes = bindings_->kv_block_bytes,
                   .block_table = sequence.block_table.data(),
                   .k_offset = layer_offset,
                   .v_offset = layer_offset + program_.kv.v_offset,
                   .num_kv_heads = step.num_kv_heads,
                   .head_dim = step.head_dim};
  args.q_stride = step.num_heads * step.head_dim;
  args.q = data(step.q) + sequence.row_begin * args.q_stride;
  args.num_rows = sequence.num_rows;
  args.num_heads = step.num_heads;
  args.first_position = sequence.first_position;
  args.window = step.window;
  args.scale = step.scale;
  args.softcap = step.softcap;
  return args;
}

void CpuExecutable::MakeTiles(const CpuAttention& step) {
  tiles_.clear();
  const int64_t group = step.num_heads / step.num_kv_heads;
  const int64_t tile_rows = kAttentionMaxStates / group;
  for (const SequenceRows& sequence : bindings_->sequences) {
    // Late rows see the most keys: they go first, so that the last tasks are the small ones.
    for (int64_t tile = DivideUp(sequence.num_rows, tile_rows) - 1; tile >= 0; --tile) {
      const int64_t row_begin = tile * tile_rows;
      const int64_t row_end = std::min(sequence.num_rows, row_begin + tile_rows);
      const int64_t last_position = sequence.first_position + row_end - 1;
      const int64_t first_seen =
          step.window > 0 ? std::max<int64_t>(0, sequence.first_position + row_begin - step.window + 1) : 0;
      for (int64_t kv_head = 0; kv_head < step.num_kv_heads; ++kv_head) {
        tiles_.push_back({&sequence, kv_head, row_begin, row_end, first_seen / kAttentionChunk,
                          last_position / kAttentionChunk + 1});
      }
    }
  }
}

void CpuExecutable::FinishTile(const CpuAttention& step, const AttentionTile& tile, const float* state) {
  const int64_t group = step.num_heads / step.num_kv_heads;
  const int64_t state_floats = AttentionStateFloats(step.head_dim);
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    float* out = data(step.out) + (tile.sequence->row_begin + row) * step.num_heads * step.head_dim +
                 tile.kv_head * group * step.head_dim;
    for (int64_t h = 0; h < group; ++h) {
      kernels_.attention_finish(state, out + h * step.head_dim, step.head_dim);
      state += state_floats;
    }
  }
}

// One task a tile: chunk after chunk, merged in rising order.
void CpuExecutable::AttendWholeTiles(const CpuAttention& step) {
  const int64_t group = step.num_heads / step.num_kv_heads;
  const int64_t state_floats = AttentionStateFloats(step.head_dim);
  pool_.Run(static_cast<int64_t>(tiles_.size()), [&](int64_t task, int thread_idx) {
    const AttentionTile& tile = tiles_[static_cast<size_t>(task)];
    const AttentionArgs args = ArgsFor(step, *tile.sequence);
    const int64_t num_states = (tile.row_end - tile.row_begin) * group;
    float* merged = scratch(thread_idx);
    float* chunk_state = merged + kAttentionMaxStates * state_floats;
    float* kernel_scratch = merged + RoundUpToLine(static_cast<size_t>(2 * kAttentionMaxStates * state_floats));
    for (int64_t chunk = tile.chunk_begin; chunk < tile.chunk_end; ++chunk) {
      float* target = chunk == tile.chunk_begin ? merged : chunk_state;
      kernels_.attention_chunk(args, tile.kv_head, tile.row_begin, tile.row_end, chunk, target, kernel_scratch);
      if (target != merged) kernels_.attention_merge(merged, chunk_state, num_states, step.head_dim);
    }
    FinishTile(step, tile, merged);
  });
}

// Several tasks a tile, each a run of its chunks, for few tiles with long contexts: decode steps. Each chunk keeps a
// state of its own, so that the merge order is the same.
void CpuExecutable::AttendChunkByChunk(const CpuAttention& step) {
  const int64_t group = step.num_heads / step.num_kv_heads;
  const int64_t state_floats = AttentionStateFloats(step.head_dim);
  const int64_t slot_floats = kAttentionMaxStates * state_floats;
  int64_t num_chunks = 0;
  for (AttentionTile& tile : tiles_) {
    tile.first_slot = num_chunks;
    num_chunks += tile.chunk_end - tile.chunk_begin;
  }
  const auto needed = static_cast<size_t>(num_chunks * slot_floats);
  if (partial_states_.size() < needed) partial_states_.resize(needed);
  const int64_t run = std::max<int64_t>(1, num_chunks / (kTasksPerThread * pool_.num_threads()));
  int64_t num_tasks = 0;
  for (const AttentionTile& tile : tiles_) num_tasks += DivideUp(tile.chunk_end - tile.chunk_begin, run);

  pool_.Run(num_tasks, [&](int64_t task, int thread_idx) {
    size_t t = 0;
    for (; task >= DivideUp(tiles_[t].chunk_end - tiles_[t].chunk_begin, run); ++t) {
      task -= DivideUp(tiles_[t].chunk_end - tiles_[t].chunk_begin, run);
    }
    const AttentionTile& tile = tiles_[t];
    AttentionArgs args = ArgsFor(step, *tile.sequence);
    const int64_t begin = tile.chunk_begin + task * run, end = std::min(tile.chunk_end, begin + run);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      args.next_chunk = chunk + 1 < end ? chunk + 1 : -1;
      float* slot = partial_states_.data() + (tile.first_slot + chunk - tile.chunk_begin) * slot_floats;
      kernels_.attention_chunk(args, tile.kv_head, tile.row_begin, tile.row_end, chunk, slot, scratch(thread_idx));
    }
  });
  const auto merge = [&](int64_t t, int) {
    const AttentionTile& tile = tiles_[static_cast<size_t>(t)];
    const int64_t num_states = (tile.row_end - tile.row_begin) * group;
    float* merged = partial_states_.data() + tile.first_slot * slot_floats;
    for (int64_t i = 1; i < tile.chunk_end - tile.chunk_begin; ++i) {
      kernels_.attention_merge(merged, merged + i * slot_floats, num_states, step.head_dim);
    }
    FinishTile(step, tile, merged);
  };
  // A merge takes about 0.1 us, a fork/join half a microsecond.
  if (num_chunks >= kMinParallelMerges) {
    pool_.Run(static_cast<int64_t>(tiles_.size()), merge);
  } else {
    for (int64_t t = 0; t < static_cast<int64_t>(tiles_.size()); ++t) merge(t, 0);
  }
}

void CpuExecutable::Execute(const CpuAttention& step) {
  RotateAndStore(step);
  MakeTiles(step);
  int64_t num_pieces = 0;
  for (const AttentionTile& tile : tiles_) num_pieces += tile.chunk_end - tile.chunk_begin;
  const auto num_tiles = static_cast<int64_t>(tiles_.size());
  const bool few_tiles = num_tiles < kTasksPerThread * pool_.num_threads();
  if (few_tiles && num_pieces > num_tiles) {
    AttendChunkByChunk(step);
  } else {
    AttendWholeTiles(step);
  }
}

}  // namespace lem
