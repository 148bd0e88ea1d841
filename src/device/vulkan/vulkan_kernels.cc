#include "device/vulkan/vulkan_kernels.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/check.h"
#include "base/integer_math.h"
#include "device/vulkan/vulkan_context.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

// Workgroups in x; more go to z. Every device has 65535.
constexpr uint32_t kMaxGridX = 32768;
// Elements of one thread of elementwise.comp (PER_THREAD there).
constexpr uint32_t kElementsPerThread = 4;
// Elements of one chunk of weights (quants.glsl).
constexpr uint32_t kChunk = 32;

// Every block of a quantised type begins at a multiple of this; so must the matrix. Shaders count on it.
uint32_t BlockAlignment(DType dtype) {
  const uint32_t block_bytes = GetDTypeInfo(dtype).block_bytes;
  return std::min(8u, block_bytes & (~block_bytes + 1));
}

// Whether rows can be read in whole aligned chunks (WHOLE in the shaders): always so for quantised types.
uint32_t HasWholeChunks(DType dtype, uint32_t k, DeviceAddress weight, uint64_t row_bytes) {
  const bool quantised = GetDTypeInfo(dtype).block_elements > 1;
  return quantised || (k % kChunk == 0 && weight % 8 == 0 && row_bytes % 8 == 0) ? 1 : 0;
}

void CheckWeight(DType dtype, DeviceAddress weight, uint64_t row_bytes, uint32_t k) {
  const DTypeInfo& info = GetDTypeInfo(dtype);
  LEM_CHECK(info.is_weight && k % info.block_elements == 0) << info.name << ", " << k << " columns";
  LEM_CHECK(weight % BlockAlignment(dtype) == 0 && row_bytes % BlockAlignment(dtype) == 0)
      << info.name << " at " << weight << ", rows of " << row_bytes << " bytes";
}

uint32_t MaxRows(const VulkanRecorder& recorder, Rows rows) {
  return static_cast<uint32_t>(rows == Rows::kTokens ? recorder.max_tokens() : recorder.max_outputs());
}

template <typename Push>
std::span<const std::byte> BytesOf(const Push& push) {
  static_assert(sizeof(Push) <= kMaxPushBytes && sizeof(Push) % 4 == 0);
  return std::as_bytes(std::span(&push, 1));
}

VulkanPipelineKey Key(VulkanShader shader, std::initializer_list<uint32_t> constants) {
  VulkanPipelineKey key;
  key.shader = shader;
  std::ranges::copy(constants, key.constants.begin());
  return key;
}

// The push constants below mirror the `Args` blocks of the shaders: scalar layout, 8-byte members first.

struct EmbedPush {
  DeviceAddress step, table;
  uint64_t row_bytes;
  DeviceAddress out;
  uint32_t cols, out_stride;
  float scale;
  uint32_t padding = 0;
};
static_assert(offsetof(EmbedPush, cols) == 32);

struct LinearPush {
  DeviceAddress step, weight;
  uint64_t row_bytes;
  DeviceAddress in, out, bias, residual;
  uint32_t rows_kind, n, k, in_stride, out_stride, residual_stride;
};
static_assert(offsetof(LinearPush, rows_kind) == 56 && sizeof(LinearPush) == 80);

struct RmsNormPush {
  DeviceAddress step, in, out, weight;
  uint32_t rows_kind, in_stride, out_stride, group;
  float eps;
  uint32_t padding = 0;
};
static_assert(offsetof(RmsNormPush, rows_kind) == 32);

struct ElementwisePush {
  DeviceAddress step, a, b, out;
  uint32_t rows_kind, a_stride, b_stride, out_stride, cols;
  float cap;
};
static_assert(offsetof(ElementwisePush, rows_kind) == 32 && sizeof(ElementwisePush) == 56);

struct RopePush {
  DeviceAddress step, in, out, cos_sin;
  uint32_t in_stride, out_stride, num_heads, head_dim, pairs, interleaved;
};
static_assert(offsetof(RopePush, in_stride) == 32 && sizeof(RopePush) == 56);

struct StoreKvPush {
  DeviceAddress step, k, v, cos_sin;
  uint32_t k_stride, v_stride, k_offset, v_offset, num_kv_heads, head_dim, pairs, interleaved;
};
static_assert(offsetof(StoreKvPush, k_stride) == 32 && sizeof(StoreKvPush) == 64);

struct AttentionPush {
  DeviceAddress step, q, out;
  uint32_t q_stride, out_stride, k_offset, v_offset, group, window;
  float scale, softcap;
};
static_assert(offsetof(AttentionPush, q_stride) == 24 && sizeof(AttentionPush) == 56);

// Values of OP in elementwise.comp.
enum class ElementOp : uint32_t { kAdd = 0, kSiluMul = 1, kGeluMul = 2, kSoftcap = 3, kCopy = 4, kSelect = 5 };

void CheckActivation(DeviceAddress address, uint32_t stride, uint32_t cols) {
  LEM_CHECK(address % 16 == 0 && stride % 4 == 0 && stride >= cols)
      << "activation at " << address << ", stride " << stride << ", " << cols << " columns";
}

// Of an operation of one operand; those of two fill in the other.
ElementwisePush UnaryPush(const VulkanRecorder& recorder, DeviceAddress in, uint32_t in_stride, DeviceAddress out,
                          uint32_t out_stride, uint32_t cols, Rows rows) {
  return {.step = recorder.step(),
          .a = in,
          .b = 0,
          .out = out,
          .rows_kind = static_cast<uint32_t>(rows),
          .a_stride = in_stride,
          .b_stride = 0,
          .out_stride = out_stride,
          .cols = cols,
          .cap = 0};
}

void RecordElementwise(VulkanRecorder& recorder, ElementOp op, const ElementwisePush& push, Rows rows) {
  LEM_CHECK(push.a % 4 == 0 && push.out % 4 == 0 && push.a_stride >= push.cols && push.out_stride >= push.cols);
  const uint32_t workgroup = recorder.context().tuning().workgroup;
  recorder.Dispatch(Key(VulkanShader::kElementwise, {workgroup, static_cast<uint32_t>(op)}), BytesOf(push),
                    DivideUp(push.cols, workgroup * kElementsPerThread), MaxRows(recorder, rows), 1);
}

// `groups` workgroups along x and z, as the linear kernels count them.
void DispatchFolded(VulkanRecorder& recorder, const VulkanPipelineKey& key, std::span<const std::byte> push,
                    uint32_t groups, uint32_t y) {
  const uint32_t x = std::min(groups, kMaxGridX);
  recorder.Dispatch(key, push, x, y, DivideUp(groups, x));
}

void RecordMatVec(VulkanRecorder& recorder, const VulkanLinear& args, const LinearPush& push, uint32_t max_rows) {
  const VulkanTuning& tuning = recorder.context().tuning();
  uint32_t cols = 1;
  while (cols < max_rows && cols < tuning.matvec_max_cols) cols *= 2;
  // Sums of a pass live in registers: fewer weight rows where there are several activation rows.
  const uint32_t rows = cols == 1 ? tuning.matvec_rows : std::min(tuning.matvec_rows, 4u);
  DispatchFolded(
      recorder,
      Key(VulkanShader::kMatVec, {tuning.matvec_lanes, static_cast<uint32_t>(args.dtype), tuning.matvec_lanes, rows,
                                  cols, HasWholeChunks(args.dtype, args.k, args.weight, args.row_bytes)}),
      BytesOf(push), DivideUp(args.n, rows), DivideUp(max_rows, cols));
}

void RecordMatMul(VulkanRecorder& recorder, VulkanShader shader, const VulkanLinear& args, const LinearPush& push,
                  uint32_t max_rows) {
  // 8 x 8 threads; tiles half as wide where there are few rows to fill them, and in emulation, which compiles the wide
  // ones for seconds.
  constexpr uint32_t kThreads = 64, kThreadsM = 8, kTileM = 8;
  const uint32_t tile_n = max_rows <= 32 || recorder.context().info().emulated ? 4 : 8;
  DispatchFolded(recorder,
                 Key(shader, {kThreads, static_cast<uint32_t>(args.dtype), kThreadsM, kTileM, tile_n,
                              HasWholeChunks(args.dtype, args.k, args.weight, args.row_bytes)}),
                 BytesOf(push), DivideUp(args.n, kThreadsM * kTileM),
                 DivideUp(max_rows, kThreads / kThreadsM * tile_n));
}

// Query heads and softmax states of one workgroup of the attention kernel.
struct AttentionShape {
  uint32_t heads = 1;  // divides the heads of a group
  uint32_t rows = 1;
};

AttentionShape ShapeOfAttention(int64_t max_tokens, int64_t num_heads, int64_t num_kv_heads, int64_t head_dim) {
  // States times columns are kept in registers and shared memory (8 KiB of queries).
  constexpr int64_t kMaxStateFloats = 2048, kMaxStates = 16;
  // Up to this many tokens a step is mostly one row a sequence.
  constexpr int64_t kDecodeTokens = 8;
  const int64_t states = std::clamp<int64_t>(kMaxStateFloats / head_dim, 1, kMaxStates);
  const int64_t group = num_heads / num_kv_heads;
  int64_t heads = std::min(group, states);
  while (group % heads != 0) --heads;
  const int64_t rows = max_tokens <= kDecodeTokens ? 1 : states / heads;
  return {static_cast<uint32_t>(heads), static_cast<uint32_t>(rows)};
}

}  // namespace

void RecordEmbed(VulkanRecorder& recorder, const VulkanEmbed& args) {
  CheckActivation(args.out, args.out_stride, args.cols);
  CheckWeight(args.dtype, args.table, args.row_bytes, args.cols);
  const EmbedPush push{.step = recorder.step(),
                       .table = args.table,
                       .row_bytes = args.row_bytes,
                       .out = args.out,
                       .cols = args.cols,
                       .out_stride = args.out_stride,
                       .scale = args.scale};
  const uint32_t workgroup = recorder.context().tuning().workgroup;
  recorder.Dispatch(Key(VulkanShader::kEmbed, {workgroup, static_cast<uint32_t>(args.dtype),
                                               HasWholeChunks(args.dtype, args.cols, args.table, args.row_bytes)}),
                    BytesOf(push), DivideUp(args.cols, kChunk * workgroup), MaxRows(recorder, Rows::kTokens), 1);
}

void RecordLinear(VulkanRecorder& recorder, const VulkanLinear& args) {
  CheckActivation(args.in, args.in_stride, args.k);
  CheckWeight(args.dtype, args.weight, args.row_bytes, args.k);
  const uint32_t max_rows = MaxRows(recorder, args.rows);
  const LinearPush push{.step = recorder.step(),
                        .weight = args.weight,
                        .row_bytes = args.row_bytes,
                        .in = args.in,
                        .out = args.out,
                        .bias = args.bias,
                        .residual = args.residual,
                        .rows_kind = static_cast<uint32_t>(args.rows),
                        .n = args.n,
                        .k = args.k,
                        .in_stride = args.in_stride,
                        .out_stride = args.out_stride,
                        .residual_stride = args.residual_stride};
  if (args.n == 0 || max_rows == 0) return;
  if (args.method == LinearMethod::kMatVec) return RecordMatVec(recorder, args, push, max_rows);
  const bool f16 = args.method == LinearMethod::kMatMulF16;
  LEM_CHECK(!f16 || recorder.context().info().fp16_arithmetic) << "no fp16 arithmetic on this device";
  RecordMatMul(recorder, f16 ? VulkanShader::kMatMulF16 : VulkanShader::kMatMul, args, push, max_rows);
}

void RecordRmsNorm(VulkanRecorder& recorder, const VulkanRmsNorm& args) {
  LEM_CHECK(args.group > 0 && args.cols % args.group == 0) << args.cols << " columns in groups of " << args.group;
  const RmsNormPush push{.step = recorder.step(),
                         .in = args.in,
                         .out = args.out,
                         .weight = args.weight,
                         .rows_kind = static_cast<uint32_t>(args.rows),
                         .in_stride = args.in_stride,
                         .out_stride = args.out_stride,
                         .group = args.group,
                         .eps = args.eps};
  recorder.Dispatch(Key(VulkanShader::kRmsNorm, {recorder.context().tuning().workgroup}), BytesOf(push),
                    args.cols / args.group, MaxRows(recorder, args.rows), 1);
}

void RecordAdd(VulkanRecorder& recorder, const VulkanAdd& args) {
  CheckActivation(args.b, args.b_stride, args.cols);
  ElementwisePush push = UnaryPush(recorder, args.a, args.a_stride, args.out, args.out_stride, args.cols, args.rows);
  push.b = args.b;
  push.b_stride = args.b_stride;
  RecordElementwise(recorder, ElementOp::kAdd, push, args.rows);
}

void RecordGlu(VulkanRecorder& recorder, const VulkanGlu& args) {
  CheckActivation(args.up, args.up_stride, args.cols);
  ElementwisePush push =
      UnaryPush(recorder, args.gate, args.gate_stride, args.out, args.out_stride, args.cols, args.rows);
  push.b = args.up;
  push.b_stride = args.up_stride;
  RecordElementwise(recorder, args.activation == Activation::kSilu ? ElementOp::kSiluMul : ElementOp::kGeluMul, push,
                    args.rows);
}

void RecordSoftcap(VulkanRecorder& recorder, const VulkanSoftcap& args) {
  ElementwisePush push = UnaryPush(recorder, args.in, args.in_stride, args.out, args.out_stride, args.cols, args.rows);
  push.cap = args.cap;
  RecordElementwise(recorder, ElementOp::kSoftcap, push, args.rows);
}

void RecordCopyColumns(VulkanRecorder& recorder, const VulkanCopyColumns& args) {
  RecordElementwise(recorder, ElementOp::kCopy,
                    UnaryPush(recorder, args.in, args.in_stride, args.out, args.out_stride, args.cols, args.rows),
                    args.rows);
}

void RecordSelectRows(VulkanRecorder& recorder, const VulkanSelectRows& args) {
  RecordElementwise(recorder, ElementOp::kSelect,
                    UnaryPush(recorder, args.in, args.in_stride, args.out, args.out_stride, args.cols, Rows::kOutputs),
                    Rows::kOutputs);
}

void RecordRope(VulkanRecorder& recorder, const VulkanRope& args) {
  LEM_CHECK(args.rotary_dim % 2 == 0 && args.rotary_dim <= args.head_dim) << args.rotary_dim;
  const RopePush push{.step = recorder.step(),
                      .in = args.in,
                      .out = args.out,
                      .cos_sin = args.cos_sin,
                      .in_stride = args.in_stride,
                      .out_stride = args.out_stride,
                      .num_heads = args.num_heads,
                      .head_dim = args.head_dim,
                      .pairs = args.rotary_dim / 2,
                      .interleaved = args.interleaved ? 1u : 0u};
  const uint32_t workgroup = recorder.context().tuning().workgroup;
  recorder.Dispatch(Key(VulkanShader::kRope, {workgroup}), BytesOf(push),
                    DivideUp(args.num_heads * (args.head_dim - push.pairs), workgroup),
                    MaxRows(recorder, Rows::kTokens), 1);
}

void RecordStoreKv(VulkanRecorder& recorder, const VulkanStoreKv& args) {
  LEM_CHECK(args.rotary_dim % 2 == 0 && args.rotary_dim <= args.kv.head_dim) << args.rotary_dim;
  const StoreKvPush push{.step = recorder.step(),
                         .k = args.k,
                         .v = args.v,
                         .cos_sin = args.cos_sin,
                         .k_stride = args.k_stride,
                         .v_stride = args.v_stride,
                         .k_offset = args.kv.k_offset,
                         .v_offset = args.kv.v_offset,
                         .num_kv_heads = args.kv.num_kv_heads,
                         .head_dim = args.kv.head_dim,
                         .pairs = args.rotary_dim / 2,
                         .interleaved = args.interleaved ? 1u : 0u};
  const uint32_t workgroup = recorder.context().tuning().workgroup;
  recorder.Dispatch(Key(VulkanShader::kStoreKv, {workgroup}), BytesOf(push),
                    DivideUp(args.kv.num_kv_heads * args.kv.head_dim, workgroup), MaxRows(recorder, Rows::kTokens), 1);
}

void RecordAttention(VulkanRecorder& recorder, const VulkanAttention& args) {
  const uint32_t head_dim = args.kv.head_dim;
  LEM_CHECK(head_dim % 16 == 0 && head_dim <= kMaxHeadDim && args.num_heads % args.kv.num_kv_heads == 0) << head_dim;
  CheckActivation(args.q, args.q_stride, args.num_heads * head_dim);
  CheckActivation(args.out, args.out_stride, args.num_heads * head_dim);
  const uint32_t max_rows = MaxRows(recorder, Rows::kTokens);
  const uint32_t group = args.num_heads / args.kv.num_kv_heads;
  const AttentionShape shape = ShapeOfAttention(max_rows, args.num_heads, args.kv.num_kv_heads, head_dim);
  const AttentionPush push{.step = recorder.step(),
                           .q = args.q,
                           .out = args.out,
                           .q_stride = args.q_stride,
                           .out_stride = args.out_stride,
                           .k_offset = args.kv.k_offset,
                           .v_offset = args.kv.v_offset,
                           .group = group,
                           .window = args.window,
                           .scale = args.scale,
                           .softcap = args.softcap};
  recorder.Dispatch(
      Key(VulkanShader::kAttention, {recorder.context().tuning().attention_lanes, head_dim, shape.heads, shape.rows}),
      BytesOf(push), args.kv.num_kv_heads * (group / shape.heads), max_rows, 1);
}

int64_t AttentionTileRows(int64_t max_tokens, int64_t num_heads, int64_t num_kv_heads, int64_t head_dim) {
  return ShapeOfAttention(max_tokens, num_heads, num_kv_heads, head_dim).rows;
}

}  // namespace lem
