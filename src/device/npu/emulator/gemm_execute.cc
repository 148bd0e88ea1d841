#include "device/npu/emulator/gemm_execute.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "base/check.h"
#include "tensor/half.h"

namespace lem {
namespace {

constexpr int64_t kWordBytes = 4;

// The bytes that loops [first_loop, end) of a descriptor visit from `base`, in order.
void Gather(const DmaDescriptor& descriptor, size_t first_loop, const std::byte* base, std::vector<std::byte>& out) {
  const std::span<const DmaDescriptor::Loop> loops = std::span(descriptor.loops).subspan(first_loop);
  int64_t outer = 1;
  for (size_t i = 0; i + 1 < loops.size(); ++i) outer *= loops[i].count;
  const auto run_bytes = static_cast<size_t>(loops.back().count * kWordBytes);
  out.resize(static_cast<size_t>(outer) * run_bytes);
  for (int64_t at = 0; at < outer; ++at) {
    int64_t rest = at, offset = 0;
    for (size_t i = loops.size() - 1; i-- > 0;) {
      offset += rest % loops[i].count * loops[i].stride_words;
      rest /= loops[i].count;
    }
    std::memcpy(out.data() + static_cast<size_t>(at) * run_bytes, base + offset * kWordBytes, run_bytes);
  }
}

std::vector<std::byte> Padded(std::span<const std::byte> matrix, int64_t rows, int64_t row_bytes, int64_t padded_rows,
                              int64_t padded_row_bytes) {
  LEM_CHECK(matrix.size() == static_cast<size_t>(rows * row_bytes)) << matrix.size();
  std::vector<std::byte> padded(static_cast<size_t>(padded_rows * padded_row_bytes));
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(padded.data() + row * padded_row_bytes, matrix.data() + row * row_bytes,
                static_cast<size_t>(row_bytes));
  }
  return padded;
}

template <typename T>
T Load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

// One core: its part of C, and its multiply loop over pieces in the layout that "to cores" descriptors make.
class Core {
 public:
  explicit Core(const GemmProgram& program)
      : config_(program.config()),
        granule_(program.generation().granule[static_cast<size_t>(config_.in)]),
        ints_(static_cast<size_t>(config_.tile.m * config_.tile.n)),
        floats_(ints_.size()) {}

  void Begin() {
    std::ranges::fill(ints_, 0);
    std::ranges::fill(floats_, 0.0f);
  }

  void Step(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
    const GemmTile& t = config_.tile;
    for (int64_t i = 0; i < t.m; ++i) {
      for (int64_t j = 0; j < t.n; ++j) {
        if (config_.in == NpuType::kI8) {
          uint32_t sum = static_cast<uint32_t>(ints_[Index(i, j)]);
          for (int64_t k = 0; k < t.k; ++k) {
            const int32_t product = Load<int8_t>(&a[AOffset(i, k)]) * Load<int8_t>(&b[BOffset(k, j)]);
            sum += static_cast<uint32_t>(product);
          }
          ints_[Index(i, j)] = static_cast<int32_t>(sum);
        } else {
          float sum = floats_[Index(i, j)];
          for (int64_t k = 0; k < t.k; ++k) {
            sum += Bfloat16ToFloat(Load<uint16_t>(&a[2 * AOffset(i, k)])) *
                   Bfloat16ToFloat(Load<uint16_t>(&b[2 * BOffset(k, j)]));
          }
          floats_[Index(i, j)] = config_.out == NpuType::kBf16 ? Bfloat16ToFloat(FloatToBfloat16(sum)) : sum;
        }
      }
    }
  }

  void Store(int64_t i, int64_t j, std::byte* out) const {
    switch (config_.out) {
      case NpuType::kI8:
        return Put(RoundShift<int8_t>(ints_[Index(i, j)]), out);
      case NpuType::kI16:
        return Put(RoundShift<int16_t>(ints_[Index(i, j)]), out);
      case NpuType::kI32:
        return Put(RoundShift<int32_t>(ints_[Index(i, j)]), out);
      case NpuType::kBf16:
        return Put(FloatToBfloat16(floats_[Index(i, j)]), out);
      case NpuType::kF32:
        return Put(floats_[Index(i, j)], out);
    }
  }

 private:
  template <typename T>
  static void Put(T value, std::byte* out) {
    std::memcpy(out, &value, sizeof(T));
  }
  template <typename T>
  T RoundShift(int32_t sum) const {
    const int64_t half = config_.shift == 0 ? 0 : int64_t{1} << (config_.shift - 1);
    const int64_t shifted = (sum + half) >> config_.shift;
    return static_cast<T>(std::clamp<int64_t>(shifted, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
  }
  size_t Index(int64_t i, int64_t j) const { return static_cast<size_t>(i * config_.tile.n + j); }
  // [m/r][k/s][r][s]
  size_t AOffset(int64_t i, int64_t k) const {
    const int64_t r = granule_[0], s = granule_[1];
    return static_cast<size_t>(((i / r * (config_.tile.k / s) + k / s) * r + i % r) * s + k % s);
  }
  // Row-major: [k/s][n/t][s][t]; column-major: [n/t][k/s][t][s].
  size_t BOffset(int64_t k, int64_t j) const {
    const int64_t s = granule_[1], t = granule_[2];
    if (config_.b_row_major) {
      return static_cast<size_t>(((k / s * (config_.tile.n / t) + j / t) * s + k % s) * t + j % t);
    }
    return static_cast<size_t>(((j / t * (config_.tile.k / s) + k / s) * t + j % t) * s + k % s);
  }

  const GemmConfig& config_;
  const std::array<int64_t, 3> granule_;
  std::vector<int32_t> ints_;
  std::vector<float> floats_;
};

}  // namespace

void ExecuteGemm(const GemmProgram& program, std::span<const std::byte> a, std::span<const std::byte> b,
                 std::span<std::byte> c) {
  const GemmConfig& config = program.config();
  LEM_CHECK(config.weight_bits == 0 && config.scale_group == 0 && !config.b_in_blocks);
  const GemmShape& shape = config.shape;
  const GemmShape& padded = program.padded();
  const GemmTile& tile = config.tile;
  const int64_t in = NpuTypeBytes(config.in), out = NpuTypeBytes(config.out);
  const std::vector<std::byte> a_host = Padded(a, shape.m, shape.k * in, padded.m, padded.k * in);
  const std::vector<std::byte> b_host = config.b_row_major ? Padded(b, shape.k, shape.n * in, padded.k, padded.n * in)
                                                           : Padded(b, shape.n, shape.k * in, padded.n, padded.k * in);
  LEM_CHECK(c.size() == static_cast<size_t>(shape.m * shape.n * out)) << c.size();
  const auto find = [&](std::string_view name) -> const DmaDescriptor& {
    return *std::ranges::find(program.descriptors(), name, &DmaDescriptor::name);
  };
  const DmaDescriptor &a_in = find("A from DRAM"), &b_in = find("B from DRAM"), &a_core = find("A to cores"),
                      &b_core = find("B to cores");
  const int64_t run = config.contiguous, blocks = padded.k / run;
  const int64_t cores_n = program.group_n() / tile.n;
  const int64_t shared = program.generation().rows / config.split_rows;  // columns of B that one MemTile holds
  Core core(program);
  std::vector<std::byte> a_memtile, b_memtile, a_tile, b_tile;
  for (int64_t row = 0; row < shape.m; row += tile.m) {
    for (int64_t group = 0; group < shape.n; group += tile.n * shared) {
      for (int64_t part = 0; part < std::min(shared, cores_n); ++part) {
        const int64_t col = group + part * tile.n;
        if (col >= shape.n) break;
        core.Begin();
        for (int64_t block = 0; block < blocks; ++block) {
          Gather(a_in, 1, a_host.data() + row * padded.k * in + block * a_in.loops[0].stride_words * kWordBytes,
                 a_memtile);
          if (config.b_row_major) {
            DmaDescriptor one_block = b_in;
            one_block.loops[0].count = run;
            Gather(one_block, 0, b_host.data() + (block * run * padded.n + group) * in, b_memtile);
          } else {
            Gather(b_in, 1, b_host.data() + group * padded.k * in + block * b_in.loops[0].stride_words * kWordBytes,
                   b_memtile);
          }
          for (int64_t k = 0; k < run; k += tile.k) {
            Gather(a_core, 0, a_memtile.data() + k * in, a_tile);
            const int64_t b_offset = config.b_row_major ? k * tile.n * shared + part * tile.n : part * tile.n * run + k;
            Gather(b_core, 0, b_memtile.data() + b_offset * in, b_tile);
            core.Step(a_tile, b_tile);
          }
        }
        for (int64_t i = row; i < std::min(row + tile.m, shape.m); ++i) {
          for (int64_t j = col; j < std::min(col + tile.n, shape.n); ++j) {
            core.Store(i - row, j - col, c.data() + (i * shape.n + j) * out);
          }
        }
      }
    }
  }
}

}  // namespace lem
