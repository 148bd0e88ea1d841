// Norms, activations, rotary embedding and reductions over logits against float64, and bit equality within the class.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/kernels_test_support.h"

namespace lem {
namespace {

constexpr double kUlp = 0x1p-23;  // of 1.0f
constexpr int64_t kLengths[] = {1, 7, 15, 16, 17, 33, 576, 1000};

// Runs `kernel` on a guarded copy of `initial`, for every table; the fused tables must agree bit for bit.
void ForEachTable(const std::vector<float>& initial, const std::function<void(const KernelTable&, float*)>& kernel,
                  const std::function<void(const std::string&, const std::vector<float>&)>& check) {
  std::vector<float> fused;
  for (const KernelTable* table : Tables()) {
    GuardedFloats out(static_cast<int64_t>(initial.size()));
    std::copy(initial.begin(), initial.end(), out.data());
    kernel(*table, out.data());
    check(table->name, out.values());
    if (table->isa == Isa::kPortable) continue;
    if (fused.empty()) fused = out.values();
    EXPECT_TRUE(SameBits(out.values(), fused)) << table->name;
  }
}

TEST(ElementwiseTest, RmsNorm) {
  std::mt19937 rng(1);
  for (const int64_t n : kLengths) {
    for (const float deviation : {1.0f, 1e-4f, 3e3f, 0.0f}) {
      const std::vector<float> in = RandomFloats(n, rng, deviation), weight = RandomFloats(n, rng);
      double squares = 0.0;
      for (const float x : in) squares += static_cast<double>(x) * static_cast<double>(x);
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      // The sum of squares is off by at most one rounding an addition, the root halves that; four more roundings.
      const double relative = (0.5 * (2.0 * static_cast<double>(n) / 16.0 + 8.0) + 4.0) * 0x1p-24;
      ForEachTable(
          in, [&](const KernelTable& t, float* out) { t.rms_norm(out, weight.data(), 1e-5f, out, n); },
          [&](const std::string& name, const std::vector<float>& out) {
            for (int64_t i = 0; i < n; ++i) {
              const double want = static_cast<double>(in[i]) * factor * static_cast<double>(weight[i]);
              ASSERT_NEAR(out[i], want, relative * std::fabs(want)) << name << " n " << n << " i " << i;
            }
          });
    }
  }
}

TEST(ElementwiseTest, AddAndScaleRoundOnce) {
  std::mt19937 rng(2);
  for (const int64_t n : kLengths) {
    const std::vector<float> a = RandomFloats(n, rng), b = RandomFloats(n, rng);
    ForEachTable(
        a, [&](const KernelTable& t, float* out) { t.add(out, b.data(), n); },
        [&](const std::string& name, const std::vector<float>& out) {
          for (int64_t i = 0; i < n; ++i) ASSERT_EQ(out[i], a[i] + b[i]) << name;
        });
    ForEachTable(
        a, [&](const KernelTable& t, float* out) { t.scale(out, 0.3f, n); },
        [&](const std::string& name, const std::vector<float>& out) {
          for (int64_t i = 0; i < n; ++i) ASSERT_EQ(out[i], a[i] * 0.3f) << name;
        });
  }
}

// A grid over the range where the functions change, its far ends, and zeros.
std::vector<float> Arguments() {
  std::vector<float> x = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-40f, 100.0f, -100.0f, 1e4f, -1e4f, 3e38f, -3e38f};
  for (float v = -30.0f; v <= 30.0f; v += 0.0137f) x.push_back(v);
  return x;
}

TEST(ElementwiseTest, SiluMul) {
  const std::vector<float> gate = Arguments();
  const auto n = static_cast<int64_t>(gate.size());
  const std::vector<float> up(gate.size(), 0.75f);
  ForEachTable(
      gate, [&](const KernelTable& t, float* out) { t.silu_mul(out, up.data(), out, n); },
      [&](const std::string& name, const std::vector<float>& out) {
        for (int64_t i = 0; i < n; ++i) {
          const double x = gate[i], want = x / (1.0 + std::exp(-x)) * 0.75;
          ASSERT_NEAR(out[i], want, 6 * kUlp * std::fabs(want) + 2e-33) << name << " x " << x;
        }
      });
}

TEST(ElementwiseTest, GeluMul) {
  const std::vector<float> gate = Arguments();
  const auto n = static_cast<int64_t>(gate.size());
  const std::vector<float> up(gate.size(), -0.75f);
  ForEachTable(
      gate, [&](const KernelTable& t, float* out) { t.gelu_mul(gate.data(), up.data(), out, n); },
      [&](const std::string& name, const std::vector<float>& out) {
        for (int64_t i = 0; i < n; ++i) {
          const double x = gate[i], u = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
          const double want = x / (1.0 + std::exp(-2.0 * u)) * -0.75;
          // An error of u by 2 ulp changes e^-2u by 4 |u| ulp.
          const double relative = (8.0 + (u < 0 ? 6.0 * std::fabs(u) : 0.0)) * kUlp;
          ASSERT_NEAR(out[i], want, relative * std::fabs(want) + 1e-30) << name << " x " << x;
        }
      });
}

TEST(ElementwiseTest, Softcap) {
  const std::vector<float> in = Arguments();
  const auto n = static_cast<int64_t>(in.size());
  ForEachTable(
      in, [&](const KernelTable& t, float* out) { t.softcap(out, 5.0f, n); },
      [&](const std::string& name, const std::vector<float>& out) {
        for (int64_t i = 0; i < n; ++i) {
          const double want = 5.0 * std::tanh(static_cast<double>(in[i]) / 5.0);
          ASSERT_NEAR(out[i], want, 5 * kUlp * std::fabs(want) + 1e-44) << name << " x " << in[i];
        }
      });
}

TEST(ElementwiseTest, Rope) {
  std::mt19937 rng(3);
  for (const int64_t rotary_dim : {2, 6, 16, 48, 64, 128}) {
    const int64_t head_dim = rotary_dim + 5;
    const std::vector<float> head = RandomFloats(head_dim, rng);
    std::vector<float> cos_sin;
    for (int64_t i = 0; i < rotary_dim / 2; ++i) {
      const double angle = 100.0 / std::pow(10000.0, 2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
      cos_sin.push_back(static_cast<float>(std::cos(angle)));
      cos_sin.push_back(static_cast<float>(std::sin(angle)));
    }
    for (const bool interleaved : {false, true}) {
      ForEachTable(
          head, [&](const KernelTable& t, float* out) { t.rope(out, cos_sin.data(), rotary_dim, interleaved); },
          [&](const std::string& name, const std::vector<float>& out) {
            for (int64_t i = 0; i < rotary_dim / 2; ++i) {
              const int64_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + rotary_dim / 2;
              const double c = cos_sin[2 * i], s = cos_sin[2 * i + 1], x = head[a], y = head[b];
              const double bound = 2 * kUlp * (std::fabs(x) + std::fabs(y));
              ASSERT_NEAR(out[a], x * c - y * s, bound) << name;
              ASSERT_NEAR(out[b], x * s + y * c, bound) << name;
            }
            for (int64_t i = rotary_dim; i < head_dim; ++i) ASSERT_EQ(out[i], head[i]) << name;
          });
    }
  }
}

TEST(ElementwiseTest, LogSumExp) {
  std::mt19937 rng(4);
  for (const int64_t n : {1, 5, 16, 31, 4096, 4097, 50001, 262144}) {
    for (const float offset : {0.0f, 1000.0f, -1000.0f}) {
      std::vector<float> in = RandomFloats(n, rng, 4.0f);
      for (float& x : in) x += offset;
      const float max = *std::max_element(in.begin(), in.end());
      double sum = 0.0;
      for (const float x : in) sum += std::exp(static_cast<double>(x) - static_cast<double>(max));
      const double want = static_cast<double>(max) + std::log(sum);
      std::vector<float> fused;
      for (const KernelTable* table : Tables()) {
        const float got = table->log_sum_exp(in.data(), n);
        // 256 additions a lane and stretch, Exp to 2 ulp; then one rounding of the result.
        EXPECT_NEAR(got, want, 300 * 0x1p-24 + std::fabs(want) * 0x1p-24) << table->name << " n " << n;
        if (table->isa != Isa::kPortable) fused.push_back(got);
      }
      for (const float got : fused) EXPECT_EQ(got, fused[0]);
    }
  }
}

TEST(ElementwiseTest, LogSumExpOfMaskedLogits) {
  const float minus_infinity = -std::numeric_limits<float>::infinity();
  for (const KernelTable* table : Tables()) {
    const std::vector<float> masked(20, minus_infinity);
    EXPECT_EQ(table->log_sum_exp(masked.data(), 20), minus_infinity) << table->name;
    std::vector<float> one = masked;
    one[18] = 3.0f;
    EXPECT_EQ(table->log_sum_exp(one.data(), 20), 3.0f) << table->name;
    // A partial last group whose entries are far below zero: absent lanes must not count as zeros.
    const std::vector<float> low(3, -500.0f);
    EXPECT_NEAR(table->log_sum_exp(low.data(), 3), -500.0 + std::log(3.0), 1e-4) << table->name;
  }
}

TEST(ElementwiseTest, ArgmaxIsTheFirstOfTheLargest) {
  std::mt19937 rng(5);
  for (const KernelTable* table : Tables()) {
    for (const int64_t n : {1, 2, 15, 16, 17, 40, 1000}) {
      for (int64_t at = 0; at < n; at += 1 + n / 50) {
        std::vector<float> in = RandomFloats(n, rng);
        in[at] = 50.0f;
        for (int64_t later = at + 1; later < n; later += 7) in[later] = 50.0f;
        ASSERT_EQ(table->argmax(in.data(), n), at) << table->name << " n " << n;
      }
    }
    std::vector<float> in(37, -std::numeric_limits<float>::infinity());
    EXPECT_EQ(table->argmax(in.data(), 37), 0) << table->name;
    in.assign(37, std::numeric_limits<float>::quiet_NaN());
    EXPECT_EQ(table->argmax(in.data(), 37), 0) << table->name;
    in[20] = -3.0f;
    EXPECT_EQ(table->argmax(in.data(), 37), 20) << table->name;
    in[36] = -2.0f;
    EXPECT_EQ(table->argmax(in.data(), 37), 36) << table->name;
  }
}

}  // namespace
}  // namespace lem
