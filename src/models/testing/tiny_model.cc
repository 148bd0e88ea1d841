#include "models/testing/tiny_model.h"

#include <cmath>
#include <list>
#include <random>

#include "formats/gguf_writer.h"
#include "tensor/quantize.h"

namespace lem {
namespace {

constexpr uint32_t kHidden = 64;
constexpr uint32_t kIntermediate = 128;
constexpr uint32_t kNumHeads = 4;
constexpr uint32_t kNumKvHeads = 2;
constexpr uint32_t kHeadDim = 16;

// GPT-2's printable stand-in for a byte: itself if printable, else the code points from U+0100 on, in order.
std::string ByteToken(int byte) {
  const auto printable = [](int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; };
  int code_point = byte;
  if (!printable(byte)) {
    code_point = 0x100;
    for (int b = 0; b < byte; ++b) code_point += printable(b) ? 0 : 1;
  }
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3f))};
}

class TinyModelWriter {
 public:
  explicit TinyModelWriter(const TinyModelOptions& options) : options_(options), random_(options.seed) {}

  Status Write(const std::filesystem::path& path) {
    AddMetadata();
    AddTensors();
    return writer_.WriteFile(path);
  }

 private:
  void AddMetadata() {
    const std::string& arch = options_.architecture;
    writer_.Add("general.architecture", arch);
    writer_.Add("general.name", std::string("tiny"));
    writer_.Add(arch + ".block_count", options_.num_layers);
    writer_.Add(arch + ".context_length", options_.context_length);
    writer_.Add(arch + ".embedding_length", kHidden);
    writer_.Add(arch + ".feed_forward_length", kIntermediate);
    writer_.Add(arch + ".attention.head_count", kNumHeads);
    writer_.Add(arch + ".attention.head_count_kv", kNumKvHeads);
    writer_.Add(arch + ".attention.key_length", kHeadDim);
    writer_.Add(arch + ".attention.value_length", kHeadDim);
    writer_.Add(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
    writer_.Add(arch + ".rope.freq_base", 10000.0f);
    if (arch == "gemma3") writer_.Add(arch + ".attention.sliding_window", uint32_t{24});

    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.push_back(ByteToken(byte));
    for (const char* special : {"<s>", "</s>", "<|im_start|>", "<|im_end|>"}) tokens.emplace_back(special);
    std::vector<int32_t> types(256, 1);
    types.resize(tokens.size(), 3);
    writer_.Add("tokenizer.ggml.model", std::string("gpt2"));
    writer_.Add("tokenizer.ggml.pre", std::string("gpt-2"));
    writer_.AddArray("tokenizer.ggml.tokens", tokens);
    writer_.AddArray("tokenizer.ggml.token_type", types);
    writer_.AddArray("tokenizer.ggml.merges", std::vector<std::string>{});
    writer_.Add("tokenizer.ggml.bos_token_id", uint32_t{256});
    writer_.Add("tokenizer.ggml.eos_token_id", uint32_t{kTinyEos});
    writer_.Add("tokenizer.ggml.add_bos_token", false);
  }

  void AddTensors() {
    Matrix("token_embd.weight", kTinyVocabSize, kHidden, 1.0f);
    Vector("output_norm.weight", kHidden);
    for (uint32_t layer = 0; layer < options_.num_layers; ++layer) {
      const std::string p = "blk." + std::to_string(layer) + ".";
      const bool gemma = options_.architecture == "gemma3";
      const uint32_t q = kNumHeads * kHeadDim, kv = kNumKvHeads * kHeadDim;
      Vector(p + "attn_norm.weight", kHidden);
      Matrix(p + "attn_q.weight", q, kHidden);
      Matrix(p + "attn_k.weight", kv, kHidden);
      Matrix(p + "attn_v.weight", kv, kHidden);
      Matrix(p + "attn_output.weight", kHidden, q);
      Vector(p + "ffn_norm.weight", kHidden);
      Matrix(p + "ffn_gate.weight", kIntermediate, kHidden);
      Matrix(p + "ffn_up.weight", kIntermediate, kHidden);
      Matrix(p + "ffn_down.weight", kHidden, kIntermediate);
      if (options_.architecture == "qwen2") {
        Vector(p + "attn_q.bias", q);
        Vector(p + "attn_k.bias", kv);
        Vector(p + "attn_v.bias", kv);
      }
      if (gemma) {
        Vector(p + "attn_q_norm.weight", kHeadDim);
        Vector(p + "attn_k_norm.weight", kHeadDim);
        Vector(p + "post_attention_norm.weight", kHidden);
        Vector(p + "post_ffw_norm.weight", kHidden);
      }
    }
  }

  void Vector(const std::string& name, uint32_t n) {
    std::vector<float> values(n);
    std::normal_distribution<float> normal(1.0f, 0.2f);
    for (float& value : values) value = normal(random_);
    Store(name, DType::kF32, {n}, values, 1);
  }
  void Matrix(const std::string& name, uint32_t rows, uint32_t cols, float gain = 1.5f) {
    std::vector<float> values(size_t{rows} * cols);
    std::normal_distribution<float> normal(0.0f, gain / std::sqrt(static_cast<float>(cols)));
    for (float& value : values) value = normal(random_);
    Store(name, options_.dtype, {cols, rows}, values, rows);
  }
  void Store(const std::string& name, DType dtype, const std::vector<uint64_t>& dims, const std::vector<float>& values,
             size_t rows) {
    const size_t cols = values.size() / rows;
    const size_t row_bytes = *RowBytes(dtype, cols);
    std::vector<std::byte>& bytes = storage_.emplace_back(rows * row_bytes);
    for (size_t r = 0; r < rows; ++r) {
      QuantizeRow(dtype, values.data() + r * cols, bytes.data() + r * row_bytes, static_cast<int64_t>(cols));
    }
    writer_.AddTensor(name, dtype, dims, bytes);
  }

  const TinyModelOptions& options_;
  std::mt19937_64 random_;
  GgufWriter writer_;
  std::list<std::vector<std::byte>> storage_;  // what the writer's views point into
};

}  // namespace

Status WriteTinyModel(const std::filesystem::path& path, const TinyModelOptions& options) {
  return TinyModelWriter(options).Write(path);
}

}  // namespace lem
