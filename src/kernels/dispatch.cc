#include <cstdlib>
#include <string_view>

#include "base/cpu_info.h"
#include "base/log.h"
#include "kernels/kernels.h"
#include "kernels/ops.h"

namespace lem {
namespace {

template <Isa kIsa>
constexpr KernelTable MakeTable(const char* name) {
  using O = Ops<kIsa>;
  return {
      .isa = kIsa,
      .name = name,
      .linear = O::Linear,
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

constexpr KernelTable kPortableTable = MakeTable<Isa::kPortable>("portable");
#ifdef LEM_KERNELS_X86
constexpr KernelTable kAvx2Table = MakeTable<Isa::kAvx2>("avx2");
constexpr KernelTable kAvx512Table = MakeTable<Isa::kAvx512>("avx512");
#endif

// Best first.
constexpr Isa kIsas[] = {Isa::kAvx512, Isa::kAvx2, Isa::kPortable};

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
  LogWarning("LEM_ISA={} is unknown or not available on this processor; using {} (allowed: portable, avx2, avx512)",
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
    case Isa::kAvx512:
      return GetCpuInfo().avx2 && GetCpuInfo().avx512 ? &kAvx512Table : nullptr;
#endif
    default:
      return nullptr;
  }
}

const KernelTable& BestKernelTable() {
  static const KernelTable& table = ChooseTable();
  return table;
}

}  // namespace lem
