#include "device/npu/npu_executable.h"

#include <algorithm>
#include <cstring>

#include "base/integer_math.h"

namespace lem {
namespace {

constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kPanelsPerTask = 4;
// Rows of activations that a task takes through a panel at a time: they stay in a core's cache.
constexpr int64_t kRowsPerTask = 64;

}  // namespace

Result<std::vector<NpuDispatch>> NpuExecutable::Run(const Bindings& bindings) {
  LEM_ASSIGN_OR_RETURN(const std::vector<NpuChunk> chunks, Cut(bindings));
  std::vector<NpuDispatch> dispatches;
  int64_t row = 0;
  for (const NpuChunk& chunk : chunks) {
    const NpuPiece piece = MakeNpuPiece(bindings, row, chunk.rows);
    LEM_ASSIGN_OR_RETURN(NpuDispatch dispatch, RunPiece(bindings, piece, chunk.bucket));
    dispatches.push_back(dispatch);
    row += chunk.rows;
  }
  return dispatches;
}

// By what the buckets cost at the step's longest context.
Result<std::vector<NpuChunk>> NpuExecutable::Cut(const Bindings& bindings) const {
  const auto num_tokens = static_cast<int64_t>(bindings.tokens.size());
  const NpuGeneration& generation = program_->generation();
  int64_t context = 1;
  for (const SequenceRows& sequence : bindings.sequences) {
    context = std::max(context, sequence.first_position + sequence.num_rows);
  }
  std::vector<int64_t> buckets;
  std::vector<double> seconds;
  // A prompt's few outputs cost the same however it is cut; a batch of answers needs the head in every piece.
  const bool answers = 2 * bindings.output_rows.size() > bindings.tokens.size();
  for (const int64_t bucket : kNpuTokenBuckets) {
    const int64_t outputs = answers ? bucket : 0;
    LEM_ASSIGN_OR_RETURN(const StaticGraph* graph, program_->GraphFor(bucket, outputs, context));
    const StaticGraph::Load load{bucket, context};
    buckets.push_back(bucket);
    seconds.push_back(graph->Cost(generation, {&load, 1}).seconds + generation.dispatch_s);
    if (bucket >= num_tokens) break;
  }
  return CutIntoBuckets(num_tokens, {buckets, seconds, generation.descriptor_reprogram_s});
}

Result<NpuDispatch> NpuExecutable::RunPiece(const Bindings& bindings, const NpuPiece& piece, int64_t bucket) {
  LEM_ASSIGN_OR_RETURN(const StaticGraph* graph,
                       program_->GraphFor(bucket, piece.num_outputs, std::max<int64_t>(1, piece.max_context)));
  bindings_ = &bindings;
  piece_ = &piece;
  const size_t floats = graph->activation_bytes / sizeof(float);
  if (activations_.size() < floats) activations_.resize(floats);
  pointers_.assign(graph->values.size(), nullptr);
  for (const StaticValue& placed : graph->values) {
    if (placed.value == kNone || placed.boundary) continue;
    pointers_[static_cast<size_t>(placed.value)] = activations_.data() + placed.offset_bytes / sizeof(float);
  }
  for (const ValueId id : program_->boundary()) {
    pointers_[static_cast<size_t>(id)] = BoundaryRows(bindings, *program_->model().graph, id, piece);
  }
  if (program_->has_attention()) PrepareRopes(piece);
  for (const StaticOp& op : graph->ops) {
    std::visit([this](const auto& body) { Execute(body); },
               program_->model().graph->ops[static_cast<size_t>(op.op_idx)].body);
  }
  std::vector<StaticGraph::Load> loads;
  loads.reserve(piece.sequences.size());
  for (const SequenceRows& sequence : piece.sequences) {
    loads.push_back({sequence.num_rows, sequence.first_position + sequence.num_rows});
  }
  return NpuDispatch{graph, piece.num_rows, graph->Cost(program_->generation(), loads)};
}

template <typename Body>
void NpuExecutable::ForRows(int64_t rows, Body body) {
  if (rows < 2) {
    for (int64_t row = 0; row < rows; ++row) body(row);
    return;
  }
  const int64_t per_task = std::max<int64_t>(1, rows / (kTasksPerThread * pool_.num_threads()));
  pool_.Run(DivideUp(rows, per_task), [&](int64_t task, int) {
    for (int64_t row = task * per_task; row < std::min(rows, (task + 1) * per_task); ++row) body(row);
  });
}

void NpuExecutable::PrepareRopes(const NpuPiece& piece) {
  const auto& all = program_->rope_frequencies();
  rope_values_.resize(all.size());
  for (size_t r = 0; r < all.size(); ++r) {
    const std::vector<double>& frequencies = all[r];
    const size_t pairs = frequencies.size();
    rope_values_[r].resize(std::max(rope_values_[r].size(), static_cast<size_t>(piece.num_rows) * pairs * 2));
    for (const SequenceRows& sequence : piece.sequences) {
      ForRows(sequence.num_rows, [&](int64_t row) {
        float* out = rope_values_[r].data() + static_cast<size_t>(sequence.row_begin + row) * pairs * 2;
        RotationRow(frequencies, sequence.first_position + row, out, out + 1, 2);
      });
    }
  }
}

void NpuExecutable::CopyTo(ValueId from, ValueId to) {
  if (data(from) == data(to)) return;
  std::memcpy(data(to), data(from), static_cast<size_t>(rows(to) * cols(to)) * sizeof(float));
}

void NpuExecutable::Execute(const EmbedOp& op) {
  ForRows(piece_->num_rows, [&](int64_t row) {
    const int32_t token = bindings_->tokens[static_cast<size_t>(piece_->row_begin + row)];
    EmbedRow(program_->model(), op, token, kernels_, data(op.out) + row * cols(op.out));
  });
}

void NpuExecutable::Execute(const RmsNormOp& op) {
  ForRows(rows(op.in), [&](int64_t row) {
    for (int64_t i = row * cols(op.in); i < (row + 1) * cols(op.in); i += op.group) {
      kernels_.rms_norm(data(op.in) + i, program_->vector(op.weight), op.eps, data(op.out) + i, op.group);
    }
  });
}

void NpuExecutable::Execute(const LinearOp& op) {
  const int64_t num_rows = rows(op.in), k = cols(op.in), n = cols(op.out);
  if (num_rows == 0) return;
  const NpuWeight& weight = program_->weight(op.weight);
  const bool bf16 = weight.precision == NpuPrecision::kBf16;
  if (bf16) {
    if (bf16_rows_.size() < static_cast<size_t>(num_rows * k)) bf16_rows_.resize(static_cast<size_t>(num_rows * k));
  } else {
    int8_rows_.Resize(num_rows, weight.int8);
  }
  ForRows(num_rows, [&](int64_t row) {
    const float* in = data(op.in) + row * k;
    if (bf16) {
      RoundToBf16(in, bf16_rows_.data() + row * k, k);
    } else {
      QuantizeInt8Row(int8_rows_, row, in, k, weight.int8.group);
    }
  });
  const float* bias = op.bias == kNone ? nullptr : program_->vector(op.bias);
  const int64_t panels = DivideUp(n, kNpuPanel), panel_tasks = DivideUp(panels, kPanelsPerTask);
  pool_.Run(panel_tasks * DivideUp(num_rows, kRowsPerTask), [&](int64_t task, int) {
    const int64_t row_begin = task / panel_tasks * kRowsPerTask;
    const int64_t row_end = std::min(num_rows, row_begin + kRowsPerTask);
    const int64_t panel_begin = task % panel_tasks * kPanelsPerTask;
    const int64_t panel_end = std::min(panels, panel_begin + kPanelsPerTask);
    float* out = data(op.out);
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      if (bf16) {
        MultiplyBf16Panel(weight.bf16, panel, bf16_rows_.data(), row_begin, row_end, out, n);
      } else {
        MultiplyInt8Panel(weight.int8, panel, int8_rows_, row_begin, row_end, out, n);
      }
    }
    if (bias == nullptr) return;
    const int64_t n_begin = panel_begin * kNpuPanel, count = std::min(n, panel_end * kNpuPanel) - n_begin;
    for (int64_t row = row_begin; row < row_end; ++row) kernels_.add(out + row * n + n_begin, bias + n_begin, count);
  });
}

void NpuExecutable::Execute(const RopeOp& op) {
  const RopeSpec& spec = program_->model().graph->ropes[static_cast<size_t>(op.rope)];
  CopyTo(op.in, op.out);
  ForRows(rows(op.out), [&](int64_t row) {
    const float* cos_sin = rope_values_[static_cast<size_t>(op.rope)].data() + row * spec.rotary_dim;
    for (int64_t head = 0; head < cols(op.out); head += op.head_dim) {
      kernels_.rope(data(op.out) + row * cols(op.out) + head, cos_sin, spec.rotary_dim, spec.interleaved);
    }
  });
}

void NpuExecutable::Execute(const PagedAttentionOp& op) {
  const Graph& graph = *program_->model().graph;
  const KvBlockLayout layout = MakeKvBlockLayout(graph.kv);
  const int64_t head_dim = graph.kv.head_dim, kv_heads = graph.kv.num_kv_heads;
  const int64_t group = op.num_heads / kv_heads, q_cols = op.num_heads * head_dim, kv_cols = kv_heads * head_dim;
  const size_t layer_offset = static_cast<size_t>(op.layer) * layout.layer_bytes;
  const auto args_of = [&](const SequenceRows& sequence) {
    AttentionArgs args;
    args.kv = KvView{.base = bindings_->kv_base,
                     .block_bytes = bindings_->kv_block_bytes,
                     .block_table = sequence.block_table.data(),
                     .k_offset = layer_offset,
                     .v_offset = layer_offset + layout.v_offset,
                     .num_kv_heads = kv_heads,
                     .head_dim = head_dim};
    args.q = data(op.q) + sequence.row_begin * q_cols;
    args.q_stride = q_cols;
    args.num_rows = sequence.num_rows;
    args.num_heads = op.num_heads;
    args.first_position = sequence.first_position;
    args.window = op.window;
    args.scale = op.scale;
    args.softcap = op.softcap;
    return args;
  };
  struct Tile {
    const SequenceRows* sequence;
    int64_t kv_head, row_begin, row_end;
  };
  std::vector<Tile> tiles;
  const int64_t tile_rows = std::max<int64_t>(1, kAttentionMaxStates / group);
  for (const SequenceRows& sequence : piece_->sequences) {
    const AttentionArgs args = args_of(sequence);
    for (int64_t i = 0; i < sequence.num_rows; ++i) {
      const int64_t row = sequence.row_begin + i;
      kernels_.store_kv(args.kv, sequence.first_position + i, data(op.k) + row * kv_cols, data(op.v) + row * kv_cols);
    }
    for (int64_t begin = 0; begin < sequence.num_rows; begin += tile_rows) {
      const int64_t end = std::min(sequence.num_rows, begin + tile_rows);
      for (int64_t head = 0; head < kv_heads; ++head) tiles.push_back({&sequence, head, begin, end});
    }
  }
  const int64_t state_floats = AttentionStateFloats(head_dim);
  const auto states = static_cast<size_t>((kAttentionMaxStates * state_floats + 15) / 16 * 16);
  const size_t per_thread = 2 * states + static_cast<size_t>((AttentionScratchFloats() + 15) / 16 * 16);
  scratch_.resize(std::max(scratch_.size(), per_thread * static_cast<size_t>(pool_.num_threads())));
  // Tiles of the context lie at absolute positions and are merged in rising order, so that a row's bits do not depend
  // on the piece it came in.
  pool_.Run(static_cast<int64_t>(tiles.size()), [&](int64_t task, int thread_idx) {
    const Tile& tile = tiles[static_cast<size_t>(task)];
    const AttentionArgs args = args_of(*tile.sequence);
    float* merged = scratch_.data() + static_cast<size_t>(thread_idx) * per_thread;
    float* part = merged + states;
    const int64_t last = args.first_position + tile.row_end - 1;
    const int64_t first_seen =
        op.window > 0 ? std::max<int64_t>(0, args.first_position + tile.row_begin - op.window + 1) : 0;
    const int64_t first_chunk = first_seen / kAttentionChunk;
    for (int64_t chunk = first_chunk; chunk <= last / kAttentionChunk; ++chunk) {
      float* target = chunk == first_chunk ? merged : part;
      kernels_.attention_chunk(args, tile.kv_head, tile.row_begin, tile.row_end, chunk, target, part + states);
      if (target != merged) {
        kernels_.attention_merge(merged, part, (tile.row_end - tile.row_begin) * group, head_dim);
      }
    }
    const float* state = merged;
    for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
      float* out = data(op.out) + (tile.sequence->row_begin + row) * q_cols + tile.kv_head * group * head_dim;
      for (int64_t head = 0; head < group; ++head, state += state_floats) {
        kernels_.attention_finish(state, out + head * head_dim, head_dim);
      }
    }
  });
}

void NpuExecutable::Execute(const GluOp& op) {
  const auto glu = op.activation == Activation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
  ForRows(rows(op.out), [&](int64_t row) {
    const int64_t at = row * cols(op.out);
    glu(data(op.gate) + at, data(op.up) + at, data(op.out) + at, cols(op.out));
  });
}

void NpuExecutable::Execute(const AddOp& op) {
  CopyTo(op.a, op.out);
  kernels_.add(data(op.out), data(op.b), rows(op.out) * cols(op.out));
}

void NpuExecutable::Execute(const SelectOutputsOp& op) {
  for (int64_t i = 0; i < piece_->num_outputs; ++i) {
    const int64_t row = bindings_->output_rows[static_cast<size_t>(piece_->output_begin + i)] - piece_->row_begin;
    std::memcpy(data(op.out) + i * cols(op.out), data(op.in) + row * cols(op.in),
                static_cast<size_t>(cols(op.out)) * sizeof(float));
  }
}

void NpuExecutable::Execute(const SoftcapOp& op) {
  CopyTo(op.in, op.out);
  kernels_.softcap(data(op.out), op.cap, rows(op.out) * cols(op.out));
}

void NpuExecutable::Execute(const ConcatOp& op) {
  int64_t offset = 0;
  for (const ValueId part : op.parts) {
    for (int64_t row = 0; row < rows(op.out); ++row) {
      std::memcpy(data(op.out) + row * cols(op.out) + offset, data(part) + row * cols(part),
                  static_cast<size_t>(cols(part)) * sizeof(float));
    }
    offset += cols(part);
  }
}

}  // namespace lem
