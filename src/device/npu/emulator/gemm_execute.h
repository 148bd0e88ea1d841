// Runs a GEMM program with the numbers that the hardware would give: every block goes the way of its descriptors, from
// padded matrices through MemTile and core memories, in the program's order.
//
// Numerics. i8: int32 sums (they wrap) over all of K; narrower outputs are round(sum / 2^shift), halves upwards,
// saturated. bf16: products are exact in float32 and are added one after the other in rising k; C stays float32, or, if
// the output is bf16, is rounded to it after each k-step of the tile, because that is what the core's memory holds.
// Slow: made to be right. gemm_kernels.h is the fast way to the same sums. Thread-safe.
#pragma once

#include <cstddef>
#include <span>

#include "device/npu/emulator/gemm_program.h"

namespace lem {

// a: [M, K] rows; b: [K, N] rows if b_row_major, else [N, K] rows; c: [M, N] rows; all without padding.
// REQUIRES: the sizes of the program's shape and types; B not in blocks, no packed weights, no scale groups.
void ExecuteGemm(const GemmProgram& program, std::span<const std::byte> a, std::span<const std::byte> b,
                 std::span<std::byte> c);

}  // namespace lem
