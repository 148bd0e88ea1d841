#include "device/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/dequantize.h"

namespace lem {
namespace {

class Reference {
 public:
  Reference(const BoundGraph& model, std::span<const int32_t> tokens)
      : model_(model),
        graph_(*model.graph),
        tokens_(tokens),
        num_tokens_(tokens.size()),
        values_(graph_.values.size()) {}

  std::vector<float> Run() {
    for (const Op& op : graph_.ops) {
      std::visit([this](const auto& body) { Execute(body); }, op.body);
    }
    return values_[static_cast<size_t>(graph_.logits)];
  }

 private:
  std::vector<float>& value(ValueId id) { return values_[static_cast<size_t>(id)]; }
  size_t cols(ValueId id) const { return static_cast<size_t>(graph_.values[static_cast<size_t>(id)].cols); }
  std::vector<float>& Allocate(ValueId id) {
    value(id).assign(num_tokens_ * cols(id), 0.0f);
    return value(id);
  }
  std::vector<float> WeightRow(WeightSlot slot, size_t row) const {
    const WeightHandle handle = model_.weights[static_cast<size_t>(slot)];
    const WeightDesc& desc = model_.weight_table->desc(handle);
    std::vector<float> out(static_cast<size_t>(desc.cols));
    DequantizeRow(desc.dtype, model_.weight_table->host_bytes(handle).data() + row * desc.row_bytes, out.data(),
                  desc.cols);
    return out;
  }

  void Execute(const EmbedOp& op) {
    std::vector<float>& out = Allocate(op.out);
    for (size_t t = 0; t < num_tokens_; ++t) {
      const std::vector<float> row = WeightRow(op.table, static_cast<size_t>(tokens_[t]));
      for (size_t i = 0; i < row.size(); ++i) out[t * row.size() + i] = row[i] * op.scale;
    }
  }

  void Execute(const RmsNormOp& op) {
    const std::vector<float>& in = value(op.in);
    std::vector<float>& out = Allocate(op.out);
    const std::vector<float> weight = WeightRow(op.weight, 0);
    const auto group = static_cast<size_t>(op.group);
    for (size_t begin = 0; begin < in.size(); begin += group) {
      double sum = 0;
      for (size_t i = 0; i < group; ++i) sum += static_cast<double>(in[begin + i]) * static_cast<double>(in[begin + i]);
      const double scale = 1.0 / std::sqrt(sum / static_cast<double>(group) + static_cast<double>(op.eps));
      for (size_t i = 0; i < group; ++i) {
        out[begin + i] =
            static_cast<float>(static_cast<double>(in[begin + i]) * scale * static_cast<double>(weight[i]));
      }
    }
  }

  void Execute(const LinearOp& op) {
    const std::vector<float>& in = value(op.in);
    std::vector<float>& out = Allocate(op.out);
    const size_t k = cols(op.in), n = cols(op.out);
    const std::vector<float> bias = op.bias == kNone ? std::vector<float>(n, 0.0f) : WeightRow(op.bias, 0);
    for (size_t row = 0; row < n; ++row) {
      const std::vector<float> weight = WeightRow(op.weight, row);
      for (size_t t = 0; t < num_tokens_; ++t) {
        double sum = 0;
        for (size_t i = 0; i < k; ++i) sum += static_cast<double>(weight[i]) * static_cast<double>(in[t * k + i]);
        out[t * n + row] = static_cast<float>(sum + static_cast<double>(bias[row]));
      }
    }
  }

  void Execute(const RopeOp& op) {
    const RopeSpec& spec = graph_.ropes[static_cast<size_t>(op.rope)];
    const size_t width = cols(op.in), head_dim = static_cast<size_t>(op.head_dim);
    const size_t half = static_cast<size_t>(spec.rotary_dim) / 2;
    const std::vector<float> factors =
        spec.factors == kNone ? std::vector<float>(half, 1.0f) : WeightRow(spec.factors, 0);
    std::vector<float>& out = value(op.out);
    out = value(op.in);
    for (size_t t = 0; t < num_tokens_; ++t) {
      for (size_t head = 0; head < width; head += head_dim) {
        for (size_t i = 0; i < half; ++i) {
          const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(spec.rotary_dim);
          const double angle = static_cast<double>(t) * spec.position_scale * std::pow(spec.theta, exponent) /
                               static_cast<double>(factors[i]);
          float& a = out[t * width + head + (spec.interleaved ? 2 * i : i)];
          float& b = out[t * width + head + (spec.interleaved ? 2 * i + 1 : i + half)];
          const auto x = static_cast<double>(a), y = static_cast<double>(b);
          a = static_cast<float>(x * std::cos(angle) - y * std::sin(angle));
          b = static_cast<float>(x * std::sin(angle) + y * std::cos(angle));
        }
      }
    }
  }

  void Execute(const PagedAttentionOp& op) {
    const auto head_dim = static_cast<size_t>(graph_.kv.head_dim);
    const auto num_heads = static_cast<size_t>(op.num_heads);
    const size_t group = num_heads / static_cast<size_t>(graph_.kv.num_kv_heads);
    const std::vector<float>&q = value(op.q), &k = value(op.k), &v = value(op.v);
    std::vector<float>& out = Allocate(op.out);
    const size_t kv_cols = cols(op.k), q_cols = cols(op.q);
    std::vector<double> scores;
    for (size_t t = 0; t < num_tokens_; ++t) {
      const size_t first =
          op.window > 0 && t + 1 > static_cast<size_t>(op.window) ? t + 1 - static_cast<size_t>(op.window) : 0;
      for (size_t head = 0; head < num_heads; ++head) {
        const float* query = q.data() + t * q_cols + head * head_dim;
        const size_t kv_offset = head / group * head_dim;
        scores.assign(t + 1 - first, 0.0);
        double max = -std::numeric_limits<double>::infinity(), sum = 0;
        for (size_t p = first; p <= t; ++p) {
          double dot = 0;
          for (size_t i = 0; i < head_dim; ++i) {
            dot += static_cast<double>(query[i]) * static_cast<double>(k[p * kv_cols + kv_offset + i]);
          }
          dot *= static_cast<double>(op.scale);
          if (op.softcap > 0) dot = static_cast<double>(op.softcap) * std::tanh(dot / static_cast<double>(op.softcap));
          scores[p - first] = dot;
          max = std::max(max, dot);
        }
        for (double& score : scores) sum += score = std::exp(score - max);
        for (size_t i = 0; i < head_dim; ++i) {
          double mixed = 0;
          for (size_t p = first; p <= t; ++p)
            mixed += scores[p - first] * static_cast<double>(v[p * kv_cols + kv_offset + i]);
          out[t * q_cols + head * head_dim + i] = static_cast<float>(mixed / sum);
        }
      }
    }
  }

  void Execute(const ConcatOp& op) {
    std::vector<float>& out = Allocate(op.out);
    size_t offset = 0;
    for (const ValueId part : op.parts) {
      const size_t width = cols(part);
      for (size_t t = 0; t < num_tokens_; ++t) {
        std::copy_n(value(part).begin() + static_cast<std::ptrdiff_t>(t * width), width,
                    out.begin() + static_cast<std::ptrdiff_t>(t * cols(op.out) + offset));
      }
      offset += width;
    }
  }

  void Execute(const GluOp& op) {
    const std::vector<float>&gate = value(op.gate), &up = value(op.up);
    std::vector<float>& out = Allocate(op.out);
    constexpr double kSqrt2OverPi = 0.79788456080286535588;
    for (size_t i = 0; i < out.size(); ++i) {
      const auto x = static_cast<double>(gate[i]);
      const double activated = op.activation == Activation::kSilu
                                   ? x / (1.0 + std::exp(-x))
                                   : 0.5 * x * (1.0 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
      out[i] = static_cast<float>(activated * static_cast<double>(up[i]));
    }
  }

  void Execute(const AddOp& op) {
    std::vector<float>& out = Allocate(op.out);
    for (size_t i = 0; i < out.size(); ++i) out[i] = value(op.a)[i] + value(op.b)[i];
  }
  void Execute(const SelectOutputsOp& op) { value(op.out) = value(op.in); }
  void Execute(const SoftcapOp& op) {
    std::vector<float>& out = Allocate(op.out);
    for (size_t i = 0; i < out.size(); ++i) out[i] = op.cap * std::tanh(value(op.in)[i] / op.cap);
  }

  const BoundGraph& model_;
  const Graph& graph_;
  const std::span<const int32_t> tokens_;
  const size_t num_tokens_;
  std::vector<std::vector<float>> values_;  // [values], each [T, cols]
};

}  // namespace

std::vector<float> RunReference(const BoundGraph& model, std::span<const int32_t> tokens) {
  return Reference(model, tokens).Run();
}

}  // namespace lem
