// A synthetic model for tests: a real GGUF file of a few hundred KiB with random weights and a byte vocabulary.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/status.h"
#include "tensor/dtype.h"

namespace lem {

struct TinyModelOptions {
  std::string architecture = "llama";  // "llama", "qwen2" or "gemma3"
  DType dtype = DType::kQ8_0;          // of the matrices; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0
  uint32_t num_layers = 2;
  uint32_t context_length = 512;
  uint64_t seed = 1;
};

// Vocabulary: 256 bytes, then <s>, </s>, <|im_start|>, <|im_end|>.
inline constexpr int32_t kTinyVocabSize = 260;
inline constexpr int32_t kTinyEos = 257;

Status WriteTinyModel(const std::filesystem::path& path, const TinyModelOptions& options = {});

}  // namespace lem
