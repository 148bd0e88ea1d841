// Linear layers for one instruction set: included by its linear.cc after its simd.h and decode.h. Numerics: kernels.h.
//
// Few rows (decode): each weight is decoded in registers once and multiplied with every row's activations at once; four
// weight rows side by side keep enough independent sums in flight. More rows (prefill): a panel of weight rows is
// decoded to float32 in scratch (it stays in the L2 cache), then multiplied in register tiles. Both add an output's
// products in the same order, so they agree bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace lem {
namespace {

// How far ahead of its use a weight is fetched. The memory latency under load (about 120 ns) at 10 GB/s a core is
// 1.2 KB; measured best from 2 to 4 KB.
constexpr int64_t kPrefetchBytes = 3072;

// Activation rows up to which a panel has only the rows of one tile.
constexpr int64_t kSmallPanelMaxTokens = 24;

// Calls visit.operator()<type>(). REQUIRES: a weight type.
template <typename Visitor>
LEM_INLINE void VisitType(DType dtype, Visitor&& visit) {
  switch (dtype) {
    case DType::kF32:
      return visit.template operator()<DType::kF32>();
    case DType::kF16:
      return visit.template operator()<DType::kF16>();
    case DType::kBF16:
      return visit.template operator()<DType::kBF16>();
    case DType::kQ4_0:
      return visit.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return visit.template operator()<DType::kQ4_1>();
    case DType::kQ5_0:
      return visit.template operator()<DType::kQ5_0>();
    case DType::kQ5_1:
      return visit.template operator()<DType::kQ5_1>();
    case DType::kQ8_0:
      return visit.template operator()<DType::kQ8_0>();
    case DType::kQ2_K:
      return visit.template operator()<DType::kQ2_K>();
    case DType::kQ3_K:
      return visit.template operator()<DType::kQ3_K>();
    case DType::kQ4_K:
      return visit.template operator()<DType::kQ4_K>();
    case DType::kQ5_K:
      return visit.template operator()<DType::kQ5_K>();
    case DType::kQ6_K:
      return visit.template operator()<DType::kQ6_K>();
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kF64:
      return;
  }
}

// out[t, n..n+kRows) for all kTokens rows of activations.
template <DType kType, int kRows, int kTokens>
LEM_INLINE void FusedRows(const LinearArgs& args, int64_t n) {
  using D = Decoder<kType>;
  const std::byte* weight = args.weight + static_cast<size_t>(n) * args.row_bytes;
  const auto row_bytes = static_cast<int64_t>(args.row_bytes);
  // Four short rows are used up at once: what is needed next lies behind all of them.
  const int64_t group_bytes = kRows * row_bytes;
  const int64_t ahead = group_bytes < 2 * kPrefetchBytes ? group_bytes : kPrefetchBytes;
  F32x16 acc[kRows][kTokens];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) acc[r][t] = Zero();
  }
  const int64_t num_blocks = args.k / D::kElements;
  for (int64_t block = 0; block < num_blocks; ++block) {
    const float* in = args.in + block * D::kElements;
    typename D::Prepared prepared[kRows];
    for (int r = 0; r < kRows; ++r) {
      const std::byte* p = weight + r * row_bytes + block * D::kBytes;
      for (int64_t line = 0; line < D::kBytes; line += 64) __builtin_prefetch(p + ahead + line);
      D::Prepare(p, prepared[r]);
    }
    for (int part = 0; part < D::kParts; ++part) {
      for (int r = 0; r < kRows; ++r) {
        const std::byte* p = weight + r * row_bytes + block * D::kBytes;
        const float* in_part = in + part * (D::kElements / D::kParts);
        D::DecodePart(p, prepared[r], part, [&](int i, F32x16 w) LEM_INLINE_LAMBDA {
          for (int t = 0; t < kTokens; ++t) {
            acc[r][t] = Fma(w, Load(in_part + t * args.in_stride + 16 * i), acc[r][t]);
          }
        });
      }
    }
  }
  if constexpr (D::kElements == 16) {
    const int64_t done = num_blocks * 16, tail = args.k - done;
    if (tail > 0) {
      for (int r = 0; r < kRows; ++r) {
        const F32x16 w = D::DecodeFirst(weight + r * row_bytes + num_blocks * D::kBytes, tail);
        for (int t = 0; t < kTokens; ++t) {
          acc[r][t] = Fma(w, LoadFirst(args.in + t * args.in_stride + done, tail), acc[r][t]);
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const float bias = args.bias != nullptr ? args.bias[n + r] : 0.0f;
    for (int t = 0; t < kTokens; ++t) {
      const float sum = ReduceAdd(acc[r][t]);
      args.out[t * args.out_stride + n + r] = args.bias != nullptr ? sum + bias : sum;
    }
  }
}

template <DType kType, int kTokens>
LEM_NOINLINE void FusedLinear(const LinearArgs& args, int64_t n_begin, int64_t n_end) {
  constexpr int kRows = kFusedSums / kTokens < 4 ? kFusedSums / kTokens : 4;
  int64_t n = n_begin;
  for (; n + kRows <= n_end; n += kRows) FusedRows<kType, kRows, kTokens>(args, n);
  for (; n < n_end; ++n) FusedRows<kType, 1, kTokens>(args, n);
}

template <int... kIndexes>
void FusedLinear(const LinearArgs& args, int64_t n_begin, int64_t n_end, std::integer_sequence<int, kIndexes...>) {
  VisitType(args.dtype, [&]<DType kType>() {
    (void)((args.num_rows == kIndexes + 1 && (FusedLinear<kType, kIndexes + 1>(args, n_begin, n_end), true)) || ...);
  });
}

// out[0..k) = one row.
template <DType kType>
LEM_NOINLINE void DecodeRow(const std::byte* row, float* out, int64_t k) {
  using D = Decoder<kType>;
  int64_t i = 0;
  for (; i + D::kElements <= k; i += D::kElements, row += D::kBytes) {
    for (int64_t line = 0; line < D::kBytes; line += 64) __builtin_prefetch(row + kPrefetchBytes + line);
    typename D::Prepared prepared;
    D::Prepare(row, prepared);
    for (int part = 0; part < D::kParts; ++part) {
      float* out_part = out + i + part * (D::kElements / D::kParts);
      D::DecodePart(row, prepared, part,
                    [&](int group, F32x16 w) LEM_INLINE_LAMBDA { Store(out_part + 16 * group, w); });
    }
  }
  if constexpr (D::kElements == 16) {
    if (i < k) StoreFirst(out + i, D::DecodeFirst(row, k - i), k - i);
  }
}

void DecodeAnyRow(DType dtype, const std::byte* row, float* out, int64_t k) {
  VisitType(dtype, [&]<DType kType>() { DecodeRow<kType>(row, out, k); });
}

// The sums of kTokens rows of activations from `token` on with the kLinearTileRows decoded rows at w, of which num_rows
// are stored, from column n on.
template <int kTokens>
LEM_NOINLINE void PanelTile(const float* const (&w)[kLinearTileRows], const LinearArgs& args, int64_t token, int64_t n,
                            int64_t num_rows) {
  F32x16 acc[kLinearTileRows][kTokens];
  for (int r = 0; r < kLinearTileRows; ++r) {
    for (int t = 0; t < kTokens; ++t) acc[r][t] = Zero();
  }
  const float* in[kTokens];
  for (int t = 0; t < kTokens; ++t) in[t] = args.in + (token + t) * args.in_stride;
  int64_t i = 0;
  for (; i + 16 <= args.k; i += 16) {
    F32x16 weight[kLinearTileRows];
    for (int r = 0; r < kLinearTileRows; ++r) weight[r] = Load(w[r] + i);
    for (int t = 0; t < kTokens; ++t) {
      const F32x16 activation = Load(in[t] + i);
      for (int r = 0; r < kLinearTileRows; ++r) acc[r][t] = Fma(weight[r], activation, acc[r][t]);
    }
  }
  if (i < args.k) {
    for (int t = 0; t < kTokens; ++t) {
      const F32x16 activation = LoadFirst(in[t] + i, args.k - i);
      for (int r = 0; r < kLinearTileRows; ++r) {
        acc[r][t] = Fma(LoadFirst(w[r] + i, args.k - i), activation, acc[r][t]);
      }
    }
  }
  float sums[kTokens][kLinearTileRows];
  ReduceTile<kTokens>(acc, sums);
  for (int t = 0; t < kTokens; ++t) {
    float* out = args.out + (token + t) * args.out_stride + n;
    for (int r = 0; r < num_rows; ++r) out[r] = args.bias != nullptr ? sums[t][r] + args.bias[n + r] : sums[t][r];
  }
}

// All rows of activations with the decoded rows [n, n + num_rows) of the panel.
template <int... kIndexes>
void MultiplyPanel(const LinearArgs& args, const float* panel, int64_t panel_stride, int64_t n, int64_t num_rows,
                   std::integer_sequence<int, kIndexes...>) {
  // Tiles of nearly equal height: the last one is not left with a row or two.
  const int64_t num_tiles = (args.num_rows + kLinearTileTokens - 1) / kLinearTileTokens;
  int64_t token = 0;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t tokens = (args.num_rows - token) / (num_tiles - tile);
    for (int64_t row = 0; row < num_rows; row += kLinearTileRows) {
      const int64_t rows = num_rows - row < kLinearTileRows ? num_rows - row : kLinearTileRows;
      const float* w[kLinearTileRows];
      // Rows past the last repeat it; their sums are not stored.
      for (int64_t r = 0; r < kLinearTileRows; ++r) w[r] = panel + (row + (r < rows ? r : rows - 1)) * panel_stride;
      (void)((tokens == kIndexes + 1 && (PanelTile<kIndexes + 1>(w, args, token, n + row, rows), true)) || ...);
    }
    token += tokens;
  }
}

void PanelLinear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  // Few activations stay in the cache for themselves; then a panel of one tile, in L1, is best.
  const int64_t panel_rows = args.num_rows <= kSmallPanelMaxTokens ? kLinearTileRows : kLinearPanelRows;
  const int64_t panel_stride = (args.k + 15) / 16 * 16;
  for (int64_t n = n_begin; n < n_end; n += panel_rows) {
    const int64_t rows = n_end - n < panel_rows ? n_end - n : panel_rows;
    for (int64_t r = 0; r < rows; ++r) {
      DecodeAnyRow(args.dtype, args.weight + static_cast<size_t>(n + r) * args.row_bytes, scratch + r * panel_stride,
                   args.k);
    }
    MultiplyPanel(args, scratch, panel_stride, n, rows, std::make_integer_sequence<int, kLinearTileTokens>());
  }
}

}  // namespace

template <>
void Ops<kIsa>::Linear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) noexcept {
  if (args.num_rows <= kFusedMaxTokens) {
    FusedLinear(args, n_begin, n_end, std::make_integer_sequence<int, kFusedMaxTokens>());
  } else {
    PanelLinear(args, n_begin, n_end, scratch);
  }
}

template <>
void Ops<kIsa>::DequantizeRow(DType dtype, const std::byte* row, float* out, int64_t k) noexcept {
  DecodeAnyRow(dtype, row, out, k);
}

}  // namespace lem
