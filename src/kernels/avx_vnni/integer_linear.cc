// Integer products with AVX-VNNI: the high and the low bytes of the activations are multiplied one after the other.
#include "kernels/avx2/integer_lanes.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kAvxVnni;

// A record: high bytes of the 32 integers, then low bytes, both with sign.
LEM_INLINE void StoreRecord(const int32_t* a, std::byte* record) {
  int8_t high[32], low[32];
  for (int64_t i = 0; i < 32; ++i) {
    const int32_t h = (a[i] + 128) >> 8;
    high[i] = static_cast<int8_t>(h);
    low[i] = static_cast<int8_t>(a[i] - h * 256);
  }
  std::memcpy(record, high, sizeof(high));
  std::memcpy(record + 32, low, sizeof(low));
}

// Few rows need both passes at once, to have enough sums in flight; many do with one register a row.
constexpr int kTwoChainTokens = 3;

// out[t] = the sums of codes x integers over kLines lines of a group, which begin at line `first`.
template <int kLines, int kTokens>
LEM_INLINE void Dots(const Codes* w, const std::byte* records, int64_t first, I32 (&out)[kTokens]) {
  I32 low[kTokens];
  for (int64_t t = 0; t < kTokens; ++t) out[t] = low[t] = _mm256_setzero_si256();
  const auto word = [&](int64_t t, int64_t l) LEM_INLINE_LAMBDA {
    return BroadcastWord(records + IntegerRows::kRecordBytes * static_cast<size_t>(t) + 4 * (first + l));
  };
  if constexpr (kTokens <= kTwoChainTokens) {
    for (int64_t l = 0; l < kLines; ++l) {
      for (int64_t t = 0; t < kTokens; ++t) {
        out[t] = _mm256_dpbusd_avx_epi32(out[t], w[l], word(t, l));
        low[t] = _mm256_dpbusd_avx_epi32(low[t], w[l], word(t, l + 8));
      }
    }
    for (int64_t t = 0; t < kTokens; ++t) out[t] = _mm256_add_epi32(_mm256_slli_epi32(out[t], 8), low[t]);
  } else {
    for (int64_t l = 0; l < kLines; ++l) {
      for (int64_t t = 0; t < kTokens; ++t) out[t] = _mm256_dpbusd_avx_epi32(out[t], w[l], word(t, l));
    }
    for (int64_t t = 0; t < kTokens; ++t) out[t] = _mm256_slli_epi32(out[t], 8);
    for (int64_t l = 0; l < kLines; ++l) {
      for (int64_t t = 0; t < kTokens; ++t) out[t] = _mm256_dpbusd_avx_epi32(out[t], w[l], word(t, l + 8));
    }
  }
}

}  // namespace
}  // namespace lem

// After the lanes that it is written against.
#include "kernels/generic/integer_linear_inl.h"
