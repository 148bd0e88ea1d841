#include "simulator/model_shapes.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "base/spelling.h"

namespace lem {
namespace {

// From the models' own configuration files.
const ModelShape kShapes[] = {
    {"llama-2-7b", 32, 4096, 11008, 32, 32, 128, 32000},
    {"llama-3-8b", 32, 4096, 14336, 32, 8, 128, 128256},
    {"llama-3.1-8b", 32, 4096, 14336, 32, 8, 128, 128256},
    {"llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256, true},
    {"llama-3.2-3b", 28, 3072, 8192, 24, 8, 128, 128256, true},
    {"qwen3-0.6b", 28, 1024, 3072, 16, 8, 128, 151936, true},
    {"qwen3-1.7b", 28, 2048, 6144, 16, 8, 128, 151936, true},
    {"qwen3-4b", 36, 2560, 9728, 32, 8, 128, 151936, true},
    {"qwen3-8b", 36, 4096, 12288, 32, 8, 128, 151936, false},
    {"gpt-oss-20b", 24, 2880, 2880, 64, 8, 64, 201088, false, 32, 4, 128, 2},
};

// Of ggml's blocks: Q4_0 4.5 bits, Q4_1 5, Q8_0 8.5, Q4_K 4.5, Q6_K 6.5625, MXFP4 4.25. The mixture Q4_K_M has half of
// the v and down matrices in Q6_K, and so is the head; files in Q4_0 keep the head in Q6_K, too. MXFP4 is for experts:
// the rest of such files is Q8_0. Q4NX, the format of one NPU engine, has 4 bits with a scale and a minimum each 32.
constexpr double kQ4K = 4.5, kQ6K = 6.5625, kQ80 = 8.5;
const QuantBits kQuants[] = {
    {"q4_0", 4.5, 4.5, 4.5, 4.5, kQ6K},
    {"q4_1", 5, 5, 5, 5, kQ6K},
    {"q4_k_m", kQ4K + (kQ6K - kQ4K) * 0.05, kQ4K + (kQ6K - kQ4K) / 6, kQ4K + (kQ6K - kQ4K) / 6, kQ4K, kQ6K},
    {"q4nx", 5, 5, 5, 16, 5},
    {"mxfp4", kQ80, kQ80, 4.25, kQ80, kQ80},
    {"q8_0", kQ80, kQ80, kQ80, kQ80, kQ80},
    {"f16", 16, 16, 16, 16, 16},
};

std::string Lower(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

template <typename Table>
auto FindNamed(const Table& table, std::string_view what, std::string_view name) -> Result<decltype(&table[0])> {
  const auto found = std::ranges::find_if(table, [&](const auto& entry) { return entry.name == Lower(name); });
  if (found != std::end(table)) return &*found;
  std::vector<std::string> names;
  for (const auto& entry : table) names.push_back(entry.name);
  return NotFound("there is no {} '{}'{}; known: {}", what, name, DidYouMean(name, names), fmt::join(names, ", "));
}

}  // namespace

std::span<const ModelShape> KnownModelShapes() { return kShapes; }
std::span<const QuantBits> KnownQuants() { return kQuants; }

Result<const ModelShape*> FindModelShape(std::string_view name) { return FindNamed(kShapes, "model", name); }

Result<const QuantBits*> FindQuant(std::string_view name) {
  // "Q4" is what programs with the K mixtures as their default call them.
  return FindNamed(kQuants, "quantisation", Lower(name) == "q4" ? "q4_k_m" : name);
}

}  // namespace lem
