#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/cpu_info.h"
#include "base/integer_math.h"
#include "base/log.h"
#include "kernels/kernels.h"
#include "kernels/ops.h"

namespace lem {
namespace {

// kIntegerIsa: what its integer products use beyond kIsa.
template <Isa kIsa, Isa kIntegerIsa = kIsa>
constexpr KernelTable MakeTable(const char* name, int64_t max_tile_rows) {
  using O = Ops<kIsa>;
  return {
      .isa = kIntegerIsa,
      .name = name,
      .max_tile_rows = max_tile_rows,
      .linear = O::Linear,
      .quantize_row = IntegerOps<kIntegerIsa>::QuantizeRow,
      .integer_linear = IntegerOps<kIntegerIsa>::Linear,
      .integer_products = IntegerOps<kIntegerIsa>::Products,
      .dequantize_row = O::DequantizeRow,
      .rms_norm = O::RmsNorm,
      .add = O::Add,
      .scale = O::Scale,
      .silu_mul = O::SiluMul,
      .gelu_mul = O::GeluMul,
      .rope = O::Rope,
      .store_kv = O::StoreKv,
      .attention_chunk = O::AttentionChunk,
      .attention_merge = O::AttentionMerge,
      .attention_finish = O::AttentionFinish,
      .log_sum_exp = O::LogSumExp,
      .argmax = O::Argmax,
      .softcap = O::Softcap,
  };
}

constexpr KernelTable kPortableTable = MakeTable<Isa::kPortable>("portable", kPortableTileRows);
#ifdef LEM_KERNELS_X86
constexpr KernelTable kAvx2Table = MakeTable<Isa::kAvx2>("avx2", kAvx2TileRows);
constexpr KernelTable kAvxVnniTable = MakeTable<Isa::kAvx2, Isa::kAvxVnni>("avx_vnni", kAvx2TileRows);
constexpr KernelTable kAvx512Table = MakeTable<Isa::kAvx512>("avx512", kAvx512TileRows);
constexpr KernelTable kAvx512VnniTable = MakeTable<Isa::kAvx512, Isa::kAvx512Vnni>("avx512_vnni", kAvx512TileRows);
#endif

// Best first.
constexpr Isa kIsas[] = {Isa::kAvx512Vnni, Isa::kAvx512, Isa::kAvxVnni, Isa::kAvx2, Isa::kPortable};

const KernelTable& BestAvailable() {
  for (const Isa isa : kIsas) {
    if (const KernelTable* table = GetKernelTable(isa)) return *table;
  }
  return kPortableTable;
}

const KernelTable& ChooseTable() {
  const KernelTable& best = BestAvailable();
  const char* wanted = std::getenv("LEM_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (const Isa isa : kIsas) {
    const KernelTable* table = GetKernelTable(isa);
    if (table != nullptr && std::string_view(table->name) == wanted) return *table;
  }
  LogWarning(
      "LEM_ISA={} is unknown or not available on this processor; using {} (allowed: portable, avx2, avx_vnni, "
      "avx512, avx512_vnni)",
      wanted, best.name);
  return best;
}

}  // namespace

const KernelTable* GetKernelTable(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return &kPortableTable;
#ifdef LEM_KERNELS_X86
    case Isa::kAvx2:
      return GetCpuInfo().avx2 ? &kAvx2Table : nullptr;
    case Isa::kAvxVnni:
      return GetCpuInfo().avx_vnni ? &kAvxVnniTable : nullptr;
    case Isa::kAvx512Vnni:
      return GetCpuInfo().avx2 && GetCpuInfo().avx512_vnni ? &kAvx512VnniTable : nullptr;
    case Isa::kAvx512:
      return GetCpuInfo().avx2 && GetCpuInfo().avx512 ? &kAvx512Table : nullptr;
#endif
    default:
      return nullptr;
  }
}

IntegerRows MakeIntegerRows(std::byte* buffer, int64_t num_rows, int64_t k, const KernelTable& table) {
  IntegerRows rows;
  // What a division costs, in rows: each tile has those of its height, and the work of unpacking codes.
  constexpr double kUnpackingRows = 1.5;
  const auto cost = [&](int64_t num_tiles) {
    const int64_t height = TileHeightOf(DivideUp(num_rows, num_tiles));
    const int64_t rest = num_rows % height;
    return static_cast<double>(num_rows - rest + (rest > 0 ? TileHeightOf(rest) : 0)) +
           kUnpackingRows * static_cast<double>(DivideUp(num_rows, height));
  };
  int64_t num_tiles = std::max<int64_t>(1, DivideUp(num_rows, table.max_tile_rows));
  if (num_rows > 0 && num_tiles < num_rows && cost(num_tiles + 1) < cost(num_tiles)) ++num_tiles;
  rows.tile_rows = num_rows > 0 ? TileHeightOf(DivideUp(num_rows, num_tiles)) : 1;
  const int64_t padded = DivideUp(num_rows, rows.tile_rows) * rows.tile_rows;
  rows.records = buffer;
  rows.sums32 = reinterpret_cast<float*>(buffer + 2 * k * padded);
  rows.sums16 = rows.sums32 + k / 32 * padded;
  rows.scales = rows.sums16 + k / 16 * padded;
  rows.num_rows = num_rows;
  rows.k = k;
  return rows;
}

const KernelTable& BestKernelTable() {
  static const KernelTable& table = ChooseTable();
  return table;
}

}  // namespace lem
