#include "device/npu/openvino/openvino_executable.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/integer_math.h"

namespace lem {
namespace {

// Added to the scores of what a row must not see. Finite, so that a row that sees nothing is no NaN, and also the
// largest negative number where the runtime computes in float16.
constexpr float kHidden = -1e9f;
// Sequences are packed as long as their past together fits this, or what the longest needs alone.
constexpr int64_t kPackedContext = 1024;
// A gathering of fewer bytes is over before another thread has woken up.
constexpr size_t kParallelBytes = size_t{8} << 20;

// Positions of the past that a row at `position` sees are those from here on.
int64_t FirstSeen(int64_t position, int64_t window) {
  return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
}

}  // namespace

OpenVinoExecutable::OpenVinoExecutable(std::shared_ptr<OpenVinoProgram> program, ThreadPool& pool,
                                       const KernelTable& kernels)
    : program_(std::move(program)), pool_(pool), kernels_(kernels) {
  const Segment& segment = program_->segment();
  const size_t num_values = graph().values.size();
  is_boundary_.resize(num_values);
  const SegmentBoundary boundary = FindBoundary(graph(), segment);
  for (const auto& side : {boundary.inputs, boundary.outputs}) {
    for (const ValueId id : side) is_boundary_[static_cast<size_t>(id)] = true;
  }
  for (int32_t i = segment.op_begin; i < segment.op_end; ++i) {
    const OpBody& body = graph().ops[static_cast<size_t>(i)].body;
    if (const auto* embed = std::get_if<EmbedOp>(&body)) embeds_.push_back(embed);
    if (const auto* select = std::get_if<SelectOutputsOp>(&body)) selects_.push_back(select);
  }
  staging_.resize(num_values);
  at_.resize(num_values);
  const OpenVinoPart& tokens = program_->part(Rows::kTokens);
  ropes_.resize(tokens.ropes.size());
  masks_.resize(tokens.windows.size());
  past_.resize(tokens.attentions.size());
}

Status OpenVinoExecutable::Run(const Bindings& bindings) {
  LEM_TRY(RunTokens(bindings));
  return RunOutputs(bindings);
}

Status OpenVinoExecutable::RunTokens(const Bindings& bindings) {
  if (program_->part(Rows::kTokens).ops.empty() && embeds_.empty() && selects_.empty()) return OkStatus();
  // Rows that are chosen are gathered here for the whole step, with the last bucket's padding.
  const auto num_outputs = static_cast<int64_t>(bindings.output_rows.size());
  for (const SelectOutputsOp* select : selects_) {
    Staging(select->out, num_outputs + program_->context().row_buckets().back());
  }
  const auto num_rows = static_cast<int64_t>(bindings.tokens.size());
  for (int64_t row = 0; row < num_rows;) {
    const int64_t fitting = RowsThatFit(bindings, row, num_rows - row);
    const NpuChunk chunk = program_->Cut(Rows::kTokens, fitting).front();
    const NpuPiece piece = MakeNpuPiece(bindings, row, chunk.rows);
    LEM_TRY(RunPiece(bindings, piece, chunk.bucket));
    row += chunk.rows;
  }
  return OkStatus();
}

// Rows from row_begin on whose sequences' pasts may be packed into one context. At least those of the first sequence.
int64_t OpenVinoExecutable::RowsThatFit(const Bindings& bindings, int64_t row_begin, int64_t num_rows) const {
  if (program_->part(Rows::kTokens).attentions.empty()) return num_rows;
  int64_t fitting = 0, used = 0, allowed = kPackedContext;
  for (const SequenceRows& sequence : bindings.sequences) {
    const int64_t begin = std::max(sequence.row_begin, row_begin), end = sequence.row_begin + sequence.num_rows;
    if (begin >= end) continue;
    const int64_t past = RoundUp(sequence.first_position + begin - sequence.row_begin, kKvBlockTokens);
    allowed = std::max(allowed, OpenVinoContextBucket(past));
    if (fitting > 0 && used + past > allowed) break;
    used += past;
    fitting += end - begin;
  }
  return std::min(fitting, num_rows);
}

Status OpenVinoExecutable::RunPiece(const Bindings& bindings, const NpuPiece& piece, int64_t bucket) {
  const OpenVinoPart& part = program_->part(Rows::kTokens);
  Embed(bindings, piece, bucket);
  if (!part.ops.empty()) {
    const std::vector<Past> past = FindPast(piece);
    int64_t needed = 1;
    for (const Past& each : past) needed = std::max(needed, each.num_positions);
    LEM_ASSIGN_OR_RETURN(OpenVinoProgram::CompiledGraph * graph, program_->GraphFor(Rows::kTokens, bucket, needed));
    const int64_t context = past.empty() ? 0 : OpenVinoContextBucket(needed);
    PrepareRopes(piece, bucket);
    for (size_t i = 0; i < past.size(); ++i) {
      PrepareMask(piece, past[i], part.windows[i], bucket, context, masks_[i]);
    }
    GatherPast(bindings, piece, past, context);
    LEM_TRY(RunGraph(bindings, piece, *graph, Rows::kTokens, bucket));
    StoreKv(bindings, piece);
    // The next size is ready before it is needed.
    if (!past.empty() && 4 * needed > 3 * context) program_->Prefetch(Rows::kTokens, bucket, context + 1);
  }
  Select(bindings, piece);
  return OkStatus();
}

// Outputs of all pieces together: the head's weights are read as few times as can be.
Status OpenVinoExecutable::RunOutputs(const Bindings& bindings) {
  const auto num_outputs = static_cast<int64_t>(bindings.output_rows.size());
  for (const SelectOutputsOp* select : selects_) {
    if (!IsBoundary(select->out)) continue;
    const NpuPiece all{.num_outputs = num_outputs};
    std::memcpy(BoundaryRows(bindings, graph(), select->out, all), Staging(select->out, num_outputs),
                static_cast<size_t>(num_outputs * cols(select->out)) * sizeof(float));
  }
  if (program_->part(Rows::kOutputs).ops.empty()) return OkStatus();
  NpuPiece piece;
  for (const NpuChunk& chunk : program_->Cut(Rows::kOutputs, num_outputs)) {
    piece.num_outputs = chunk.rows;
    for (const SelectOutputsOp* select : selects_) {
      at_[static_cast<size_t>(select->out)] =
          Staging(select->out, num_outputs) + piece.output_begin * cols(select->out);
    }
    LEM_ASSIGN_OR_RETURN(OpenVinoProgram::CompiledGraph * graph, program_->GraphFor(Rows::kOutputs, chunk.bucket, 0));
    LEM_TRY(RunGraph(bindings, piece, *graph, Rows::kOutputs, chunk.bucket));
    piece.output_begin += chunk.rows;
  }
  return OkStatus();
}

float* OpenVinoExecutable::Staging(ValueId id, int64_t rows) {
  AlignedVector<float>& memory = staging_[static_cast<size_t>(id)];
  memory.resize(std::max(memory.size(), static_cast<size_t>(rows * cols(id))));
  return memory.data();
}

// Boundary values are used where they lie if the bucket is full; else rows are added in memory of our own.
Status OpenVinoExecutable::RunGraph(const Bindings& bindings, const NpuPiece& piece,
                                    OpenVinoProgram::CompiledGraph& graph, Rows rows, int64_t bucket) {
  const OpenVinoPart& part = program_->part(rows);
  const int64_t num_rows = rows == Rows::kTokens ? piece.num_rows : piece.num_outputs;
  const auto floats = [&](ValueId id, int64_t count) { return static_cast<size_t>(count * cols(id)); };
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
  for (const ValueId id : part.inputs) {
    float*& at = at_[static_cast<size_t>(id)];
    const bool is_of_driver = std::ranges::find(embeds_, id, &EmbedOp::out) != embeds_.end() ||
                              std::ranges::find(selects_, id, &SelectOutputsOp::out) != selects_.end();
    if (!is_of_driver) {
      at = BoundaryRows(bindings, this->graph(), id, piece);
      if (num_rows < bucket) {
        float* padded = Staging(id, bucket);
        std::memcpy(padded, at, floats(id, num_rows) * sizeof(float));
        std::fill_n(padded + floats(id, num_rows), floats(id, bucket - num_rows), 0.0f);
        at = padded;
      }
    }
    inputs.push_back(at);
  }
  for (const ValueId id : part.outputs) {
    float*& at = at_[static_cast<size_t>(id)];
    const bool in_place = IsBoundary(id) && num_rows == bucket;
    at = in_place ? BoundaryRows(bindings, this->graph(), id, piece) : Staging(id, bucket);
    outputs.push_back(at);
  }
  std::vector<const float*> ropes, masks;
  std::vector<const uint16_t*> keys, values;
  if (rows == Rows::kTokens) {
    for (const auto& rope : ropes_) ropes.push_back(rope.data());
    for (const auto& mask : masks_) masks.push_back(mask.data());
    for (const PastTensors& past : past_) {
      keys.push_back(past.keys.data());
      values.push_back(past.values.data());
    }
  }
  LEM_TRY(graph.Run({inputs.data(), outputs.data(), ropes.data(), masks.data(), keys.data(), values.data()}, num_rows));
  if (num_rows == bucket) return OkStatus();
  for (const ValueId id : part.outputs) {
    if (!IsBoundary(id)) continue;
    std::memcpy(BoundaryRows(bindings, this->graph(), id, piece), at_[static_cast<size_t>(id)],
                floats(id, num_rows) * sizeof(float));
  }
  return OkStatus();
}

void OpenVinoExecutable::Embed(const Bindings& bindings, const NpuPiece& piece, int64_t bucket) {
  for (const EmbedOp* op : embeds_) {
    float* out = at_[static_cast<size_t>(op->out)] = Staging(op->out, bucket);
    for (int64_t row = 0; row < piece.num_rows; ++row) {
      EmbedRow(program_->model(), *op, bindings.tokens[static_cast<size_t>(piece.row_begin + row)], kernels_,
               out + row * cols(op->out));
    }
    const int64_t used = piece.num_rows * cols(op->out);
    std::fill(out + used, out + bucket * cols(op->out), 0.0f);
    if (!IsBoundary(op->out)) continue;
    std::memcpy(BoundaryRows(bindings, graph(), op->out, piece), out, static_cast<size_t>(used) * sizeof(float));
  }
}

void OpenVinoExecutable::Select(const Bindings& bindings, const NpuPiece& piece) {
  const OpenVinoPart& part = program_->part(Rows::kTokens);
  for (const SelectOutputsOp* op : selects_) {
    const bool is_here = std::ranges::find(part.outputs, op->in) != part.outputs.end() ||
                         std::ranges::find(embeds_, op->in, &EmbedOp::out) != embeds_.end();
    const float* in = is_here ? at_[static_cast<size_t>(op->in)] : BoundaryRows(bindings, graph(), op->in, piece);
    float* out = Staging(op->out, 0) + piece.output_begin * cols(op->out);
    for (int64_t i = 0; i < piece.num_outputs; ++i) {
      const int64_t row = bindings.output_rows[static_cast<size_t>(piece.output_begin + i)] - piece.row_begin;
      std::memcpy(out + i * cols(op->out), in + row * cols(op->out),
                  static_cast<size_t>(cols(op->out)) * sizeof(float));
    }
  }
}

void OpenVinoExecutable::PrepareRopes(const NpuPiece& piece, int64_t bucket) {
  const OpenVinoPart& part = program_->part(Rows::kTokens);
  for (size_t i = 0; i < part.ropes.size(); ++i) {
    const std::vector<double>& frequencies = program_->rope_frequencies()[static_cast<size_t>(part.ropes[i])];
    const size_t pairs = frequencies.size(), sines = static_cast<size_t>(bucket) * pairs;
    ropes_[i].resize(std::max(ropes_[i].size(), 2 * sines));
    for (const SequenceRows& sequence : piece.sequences) {
      for (int64_t row = 0; row < sequence.num_rows; ++row) {
        float* out = ropes_[i].data() + static_cast<size_t>(sequence.row_begin + row) * pairs;
        RotationRow(frequencies, sequence.first_position + row, out, out + sines, 1);
      }
    }
  }
}

std::vector<OpenVinoExecutable::Past> OpenVinoExecutable::FindPast(const NpuPiece& piece) const {
  std::vector<Past> all;
  for (const int64_t window : program_->part(Rows::kTokens).windows) {
    Past& past = all.emplace_back();
    for (size_t i = 0; i < piece.sequences.size(); ++i) {
      const int64_t end = piece.sequences[i].first_position;
      const int64_t first_block = FirstSeen(end, window) / kKvBlockTokens;
      const int64_t count = end - first_block * kKvBlockTokens;
      if (count <= 0) continue;
      past.spans.push_back({i, first_block, count, past.num_positions});
      past.num_positions += RoundUp(count, kKvBlockTokens);
    }
  }
  return all;
}

// [bucket, context + bucket]: each row sees its own sequence's past and the rows before it, in the window. Rows that
// pad the bucket see themselves.
void OpenVinoExecutable::PrepareMask(const NpuPiece& piece, const Past& past, int64_t window, int64_t bucket,
                                     int64_t context, AlignedVector<float>& mask) const {
  const int64_t width = context + bucket;
  mask.resize(std::max(mask.size(), static_cast<size_t>(bucket * width)));
  std::fill_n(mask.begin(), bucket * width, kHidden);
  const auto show = [&](int64_t row, int64_t begin, int64_t end) {
    if (begin < end) std::fill(mask.data() + row * width + begin, mask.data() + row * width + end, 0.0f);
  };
  for (const SequenceRows& sequence : piece.sequences) {
    for (int64_t i = 0; i < sequence.num_rows; ++i) {
      const int64_t row = sequence.row_begin + i;
      const int64_t seen =
          std::max<int64_t>(0, FirstSeen(sequence.first_position + i, window) - sequence.first_position);
      show(row, context + sequence.row_begin + seen, context + row + 1);
    }
  }
  for (const PastSpan& span : past.spans) {
    const SequenceRows& sequence = piece.sequences[span.sequence];
    const int64_t first_position = span.first_block * kKvBlockTokens;
    for (int64_t i = 0; i < sequence.num_rows; ++i) {
      const int64_t hidden = std::max<int64_t>(0, FirstSeen(sequence.first_position + i, window) - first_position);
      show(sequence.row_begin + i, span.context_begin + hidden, span.context_begin + span.num_positions);
    }
  }
  for (int64_t row = piece.num_rows; row < bucket; ++row) show(row, context + row, context + row + 1);
}

KvView OpenVinoExecutable::ViewOf(const Bindings& bindings, const SequenceRows& sequence, int32_t layer) const {
  const KvBlockLayout layout = MakeKvBlockLayout(graph().kv);
  const size_t layer_offset = static_cast<size_t>(layer) * layout.layer_bytes;
  return {.base = bindings.kv_base,
          .block_bytes = bindings.kv_block_bytes,
          .block_table = sequence.block_table.data(),
          .k_offset = layer_offset,
          .v_offset = layer_offset + layout.v_offset,
          .num_kv_heads = graph().kv.num_kv_heads,
          .head_dim = graph().kv.head_dim};
}

// Copies blocks of the cache into the dense tensors of each attention op; what other runs left behind becomes zero,
// since a number that is hidden is still multiplied by zero.
void OpenVinoExecutable::GatherPast(const Bindings& bindings, const NpuPiece& piece, const std::vector<Past>& past,
                                    int64_t context) {
  const OpenVinoPart& part = program_->part(Rows::kTokens);
  const int64_t heads = graph().kv.num_kv_heads, dim = graph().kv.head_dim;
  const auto halves = static_cast<size_t>(heads * dim * context);
  const auto gather = [&](int64_t task, int) {
    const auto idx = static_cast<size_t>(task);
    PastTensors& tensors = past_[idx];
    const Past& seen = past[part.window_of[idx]];
    if (tensors.context != context) {
      tensors.keys.assign(halves, 0);
      tensors.values.assign(halves, 0);
      tensors.context = context;
      tensors.used = 0;
    }
    const auto& op = std::get<PagedAttentionOp>(graph().ops[static_cast<size_t>(part.attentions[idx])].body);
    const auto clear = [&](int64_t begin, int64_t end) {
      if (begin >= end) return;
      for (int64_t i = 0; i < heads * dim; ++i)
        std::fill_n(&tensors.keys[static_cast<size_t>(i * context + begin)], end - begin, uint16_t{0});
      for (int64_t head = 0; head < heads; ++head) {
        std::fill_n(&tensors.values[static_cast<size_t>((head * context + begin) * dim)], (end - begin) * dim,
                    uint16_t{0});
      }
    };
    for (const PastSpan& span : seen.spans) {
      const KvView view = ViewOf(bindings, piece.sequences[span.sequence], op.layer);
      for (int64_t done = 0; done < span.num_positions; done += kKvBlockTokens) {
        const int64_t count = std::min(kKvBlockTokens, span.num_positions - done), at = span.context_begin + done;
        const auto block = static_cast<size_t>(view.block_table[span.first_block + done / kKvBlockTokens]);
        const std::byte* from = view.base + block * view.block_bytes;
        const auto* keys = reinterpret_cast<const uint16_t*>(from + view.k_offset);
        const auto* values = reinterpret_cast<const uint16_t*>(from + view.v_offset);
        for (int64_t i = 0; i < heads * dim; ++i) {
          std::memcpy(&tensors.keys[static_cast<size_t>(i * context + at)], keys + i * kKvBlockTokens,
                      static_cast<size_t>(count) * sizeof(uint16_t));
        }
        for (int64_t head = 0; head < heads; ++head) {
          std::memcpy(&tensors.values[static_cast<size_t>((head * context + at) * dim)],
                      values + head * kKvBlockTokens * dim, static_cast<size_t>(count * dim) * sizeof(uint16_t));
        }
        if (count < kKvBlockTokens) clear(at + count, at + kKvBlockTokens);
      }
    }
    clear(seen.num_positions, tensors.used);
    tensors.used = seen.num_positions;
  };
  const auto num_tasks = static_cast<int64_t>(past_.size());
  size_t bytes = 0;
  for (const size_t window : part.window_of) {
    bytes += 4 * static_cast<size_t>(heads * dim * past[window].num_positions);
  }
  if (bytes >= kParallelBytes) {
    pool_.Run(num_tasks, gather);
  } else {
    for (int64_t task = 0; task < num_tasks; ++task) gather(task, 0);
  }
}

void OpenVinoExecutable::StoreKv(const Bindings& bindings, const NpuPiece& piece) {
  const OpenVinoPart& part = program_->part(Rows::kTokens);
  for (const int32_t i : part.attentions) {
    const auto& op = std::get<PagedAttentionOp>(graph().ops[static_cast<size_t>(i)].body);
    const float* keys = at_[static_cast<size_t>(op.k)];
    const float* values = at_[static_cast<size_t>(op.v)];
    for (const SequenceRows& sequence : piece.sequences) {
      const KvView view = ViewOf(bindings, sequence, op.layer);
      for (int64_t row = 0; row < sequence.num_rows; ++row) {
        kernels_.store_kv(view, sequence.first_position + row, keys + (sequence.row_begin + row) * cols(op.k),
                          values + (sequence.row_begin + row) * cols(op.v));
      }
    }
  }
}

}  // namespace lem
