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

// Activation rows up to which MultiplyFewTokens is better than MultiplyManyTokens.
constexpr int64_t kFewTokens = 32;
// Columns that MultiplyFewTokens decodes at a time: a whole number of blocks of any type.
constexpr int64_t kBlockK = 512;
// Most columns of a pass of MultiplyManyTokens: a tile of activations, its sums and what passes by fit in L1.
constexpr int64_t kMaxTileK = 1024;

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

// Elements [k_begin, k_end) of a row: element k_begin + i goes to out[i / 16 * kGroupStride + i % 16].
// REQUIRES: k_begin is a whole number of blocks.
template <DType kType, int kGroupStride>
LEM_NOINLINE void DecodeRow(const std::byte* row, int64_t k_begin, int64_t k_end, float* out) {
  using D = Decoder<kType>;
  constexpr int64_t kPartGroups = D::kElements / D::kParts / 16;
  const std::byte* p = row + k_begin / D::kElements * D::kBytes;
  int64_t i = k_begin;
  for (; i + D::kElements <= k_end; i += D::kElements, p += D::kBytes) {
    for (int64_t line = 0; line < D::kBytes; line += 64) __builtin_prefetch(p + kPrefetchBytes + line);
    typename D::Prepared prepared;
    D::Prepare(p, prepared);
    for (int part = 0; part < D::kParts; ++part) {
      D::DecodePart(p, prepared, part, [&](int group, F32x16 w) LEM_INLINE_LAMBDA {
        Store(out + (part * kPartGroups + group) * kGroupStride, w);
      });
    }
    out += D::kElements / 16 * kGroupStride;
  }
  if constexpr (D::kElements == 16) {
    if (i < k_end) StoreFirst(out, D::DecodeFirst(p, k_end - i), k_end - i);
  }
}

template <int kGroupStride>
void DecodeAnyRow(DType dtype, const std::byte* row, int64_t k_begin, int64_t k_end, float* out) {
  VisitType(dtype, [&]<DType kType>() { DecodeRow<kType, kGroupStride>(row, k_begin, k_end, out); });
}

// A panel is a row of strips; a strip holds kLinearTileRows decoded rows, 16 elements of each in turn:
// [k / 16][kLinearTileRows][16].
constexpr int kStripStride = 16 * kLinearTileRows;

// A tile's sums between two blocks of columns.
constexpr int kTileSums = 16 * kLinearTileRows * kLinearTileTokens;

// Some columns of a panel: those decoded to `strips` are [k_begin, k_end) of K; k_begin is a multiple of 16. The
// panel's rows are [n, n + num_rows) of the output's columns.
struct Panel {
  const float* strips;
  int64_t strip_floats;  // from one strip to the next
  int64_t n;
  int64_t num_rows;
  int64_t k_begin;
  int64_t k_end;
};

template <int kTokens>
LEM_INLINE void StoreTile(const LinearArgs& args, const F32x16 (&acc)[kLinearTileRows][kTokens], int64_t token,
                          int64_t n, int64_t num_rows) {
  float sums[kTokens][kLinearTileRows];
  ReduceTile<kTokens>(acc, sums);
  const float* bias = args.bias != nullptr ? args.bias + n : nullptr;
  for (int t = 0; t < kTokens; ++t) {
    float* out = args.out + (token + t) * args.out_stride + n;
    if (num_rows == kLinearTileRows && bias == nullptr) {
      __builtin_memcpy(out, sums[t], sizeof(sums[t]));
    } else {
      for (int r = 0; r < num_rows; ++r) out[r] = bias != nullptr ? sums[t][r] + bias[r] : sums[t][r];
    }
  }
}

// Adds the panel's products to the sums of kTokens rows of activations from `token` on. The sums of each strip come
// from `partial`, [strips][kTileSums], unless the panel begins at column 0, and go back there unless it ends at K: then
// they are the output.
template <int kTokens>
LEM_NOINLINE void PanelTile(const LinearArgs& args, const Panel& panel, int64_t token, float* partial) {
  const float* in = args.in + token * args.in_stride;
  const float* strip_begin = panel.strips;
  for (int64_t row = 0; row < panel.num_rows;
       row += kLinearTileRows, partial += kTileSums, strip_begin += panel.strip_floats) {
    const float* strip = strip_begin;
    F32x16 acc[kLinearTileRows][kTokens];
    for (int r = 0; r < kLinearTileRows; ++r) {
      for (int t = 0; t < kTokens; ++t)
        acc[r][t] = panel.k_begin == 0 ? Zero() : Load(partial + 16 * (r * kTokens + t));
    }
    int64_t i = panel.k_begin;
    for (; i + 16 <= panel.k_end; i += 16, strip += kStripStride) {
      F32x16 weight[kLinearTileRows];
      for (int r = 0; r < kLinearTileRows; ++r) weight[r] = Load(strip + 16 * r);
      for (int t = 0; t < kTokens; ++t) {
        const F32x16 activation = Load(in + t * args.in_stride + i);
        for (int r = 0; r < kLinearTileRows; ++r) acc[r][t] = Fma(weight[r], activation, acc[r][t]);
      }
    }
    if (panel.k_end < args.k) {
      for (int r = 0; r < kLinearTileRows; ++r) {
        for (int t = 0; t < kTokens; ++t) Store(partial + 16 * (r * kTokens + t), acc[r][t]);
      }
      continue;
    }
    if (i < args.k) {
      for (int t = 0; t < kTokens; ++t) {
        const F32x16 activation = LoadFirst(in + t * args.in_stride + i, args.k - i);
        for (int r = 0; r < kLinearTileRows; ++r) {
          acc[r][t] = Fma(LoadFirst(strip + 16 * r, args.k - i), activation, acc[r][t]);
        }
      }
    }
    const int64_t rows = panel.num_rows - row < kLinearTileRows ? panel.num_rows - row : kLinearTileRows;
    StoreTile<kTokens>(args, acc, token, panel.n + row, rows);
  }
}

template <int... kIndexes>
LEM_INLINE void PanelTileOf(int64_t tokens, const LinearArgs& args, const Panel& panel, int64_t token, float* partial,
                            std::integer_sequence<int, kIndexes...>) {
  (void)((tokens == kIndexes + 1 && (PanelTile<kIndexes + 1>(args, panel, token, partial), true)) || ...);
}

// The rows of activations, cut into tiles of nearly equal height: the last one is not left with a row or two.
struct TokenTiles {
  explicit TokenTiles(int64_t rows) : num_rows(rows), num_tiles((rows + kLinearTileTokens - 1) / kLinearTileTokens) {}
  int64_t Begin(int64_t tile) const { return num_rows * tile / num_tiles; }

  int64_t num_rows;
  int64_t num_tiles;
};

LEM_INLINE void MultiplyTile(const LinearArgs& args, const Panel& panel, const TokenTiles& tiles, int64_t tile,
                             float* partial) {
  const int64_t token = tiles.Begin(tile);
  PanelTileOf(tiles.Begin(tile + 1) - token, args, panel, token, partial,
              std::make_integer_sequence<int, kLinearTileTokens>());
}

// Decodes columns [k_begin, k_end) of num_rows rows from n on to scratch.
Panel DecodePanel(const LinearArgs& args, int64_t n, int64_t num_rows, int64_t k_begin, int64_t k_end, float* scratch) {
  const Panel panel = {scratch, (k_end - k_begin + 15) / 16 * kStripStride, n, num_rows, k_begin, k_end};
  const int64_t padded_rows = (num_rows + kLinearTileRows - 1) / kLinearTileRows * kLinearTileRows;
  for (int64_t r = 0; r < padded_rows; ++r) {
    const int64_t row = n + (r < num_rows ? r : num_rows - 1);  // what pads the last strip is not stored
    DecodeAnyRow<kStripStride>(args.dtype, args.weight + static_cast<size_t>(row) * args.row_bytes, k_begin, k_end,
                               scratch + r / kLinearTileRows * panel.strip_floats + r % kLinearTileRows * 16);
  }
  return panel;
}

constexpr int64_t kMaxPartialTiles = kLinearPanelRows / kLinearTileRows > kFewTokens / kLinearTileTokens + 1
                                         ? kLinearPanelRows / kLinearTileRows
                                         : kFewTokens / kLinearTileTokens + 1;

// Few rows of activations: one strip at a time and of that some columns, which stay in L1 while all activations pass.
void MultiplyFewTokens(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  alignas(64) float partial[kMaxPartialTiles * kTileSums];
  const TokenTiles tiles(args.num_rows);
  for (int64_t n = n_begin; n < n_end; n += kLinearTileRows) {
    const int64_t num_rows = n_end - n < kLinearTileRows ? n_end - n : kLinearTileRows;
    for (int64_t k = 0; k < args.k; k += kBlockK) {
      const int64_t k_end = k + kBlockK < args.k ? k + kBlockK : args.k;
      const Panel panel = DecodePanel(args, n, num_rows, k, k_end, scratch);
      for (int64_t tile = 0; tile < tiles.num_tiles; ++tile) {
        MultiplyTile(args, panel, tiles, tile, partial + tile * kTileSums);
      }
    }
  }
}

// Many: a panel of whole rows, in L2, passes by a tile of activations, in L1.
void MultiplyManyTokens(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) {
  alignas(64) float partial[kMaxPartialTiles * kTileSums];
  const TokenTiles tiles(args.num_rows);
  const int64_t num_passes = (args.k + kMaxTileK - 1) / kMaxTileK;
  const int64_t tile_k = (args.k / num_passes + 15) / 16 * 16;
  for (int64_t n = n_begin; n < n_end; n += kLinearPanelRows) {
    const int64_t num_rows = n_end - n < kLinearPanelRows ? n_end - n : kLinearPanelRows;
    const Panel whole = DecodePanel(args, n, num_rows, 0, args.k, scratch);
    for (int64_t tile = 0; tile < tiles.num_tiles; ++tile) {
      for (int64_t k = 0; k < args.k; k += tile_k) {
        Panel panel = whole;
        panel.strips += k * kLinearTileRows;
        panel.k_begin = k;
        panel.k_end = k + tile_k < args.k ? k + tile_k : args.k;
        MultiplyTile(args, panel, tiles, tile, partial);
      }
    }
  }
}

}  // namespace

template <>
void Ops<kIsa>::Linear(const LinearArgs& args, int64_t n_begin, int64_t n_end, float* scratch) noexcept {
  if (args.num_rows <= kFusedMaxTokens) {
    FusedLinear(args, n_begin, n_end, std::make_integer_sequence<int, kFusedMaxTokens>());
  } else if (args.num_rows <= kFewTokens) {
    MultiplyFewTokens(args, n_begin, n_end, scratch);
  } else {
    MultiplyManyTokens(args, n_begin, n_end, scratch);
  }
}

template <>
void Ops<kIsa>::DequantizeRow(DType dtype, const std::byte* row, float* out, int64_t k) noexcept {
  DecodeAnyRow<16>(dtype, row, 0, k, out);
}

}  // namespace lem
