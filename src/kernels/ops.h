// The functions behind the kernel tables: declared once here for every instruction set, defined in the files of
// portable/, avx2/ and avx512/, which have the same names in each folder. What each one does: kernels.h.
#pragma once

#include "kernels/kernels.h"

namespace lem {

template <Isa kIsa>
struct Ops {
  // linear.cc
  static void Linear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) noexcept;
  static void DequantizeRow(DType dtype, const std::byte* row, float* out, int64_t k) noexcept;

  // elementwise.cc
  static void RmsNorm(const float* in, const float* weight, float eps, float* out, int64_t n) noexcept;
  static void Add(float* out, const float* in, int64_t n) noexcept;
  static void Scale(float* out, float factor, int64_t n) noexcept;
  static void SiluMul(const float* gate, const float* up, float* out, int64_t n) noexcept;
  static void GeluMul(const float* gate, const float* up, float* out, int64_t n) noexcept;
  static void Rope(float* head, const float* cos_sin, int64_t rotary_dim, bool interleaved) noexcept;
  static float LogSumExp(const float* in, int64_t n) noexcept;
  static int64_t Argmax(const float* in, int64_t n) noexcept;
  static void Softcap(float* out, float cap, int64_t n) noexcept;

  // attention.cc
  static void StoreKv(const KvView& kv, int64_t position, const float* k, const float* v) noexcept;
  static void AttentionChunk(const AttentionArgs& args, int64_t kv_head, int64_t row_begin, int64_t row_end,
                             int64_t chunk_idx, float* state, float* scratch) noexcept;
  static void AttentionMerge(float* into, const float* chunk, int64_t num_states, int64_t head_dim) noexcept;
  static void AttentionFinish(const float* state, float* out, int64_t head_dim) noexcept;
};

// Rows of activations that the integer products take side by side: measured best. More keep more sums in flight and
// share the unpacking of a group; then the float sums no longer fit beside them into registers.
inline constexpr int64_t kAvx512TileRows = 12, kAvx2TileRows = 6, kPortableTileRows = 4;
// Heights of tiles that the products are compiled for. Other numbers of rows take the next one and keep what they need;
// all heights would take twice the code and time to compile, for some percent at 5, 7, 9...11 rows.
inline constexpr int kTileHeights[] = {1, 2, 3, 4, 6, 8, 12};
constexpr int64_t TileHeightOf(int64_t rows) {
  for (const int height : kTileHeights) {
    if (rows <= height) return height;
  }
  return rows;
}

// integer_linear.cc: the one file that the folders avx_vnni/ and avx512_vnni/ have; the rest is that of avx2/ and
// avx512/.
template <Isa kIsa>
struct IntegerOps {
  static void QuantizeRow(const float* in, const IntegerRows& out, int64_t row) noexcept;
  static void Linear(const IntegerLinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) noexcept;
  static int64_t Products(int64_t num_groups) noexcept;
};

}  // namespace lem
