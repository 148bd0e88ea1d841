// Integer products by VNNI, which multiplies unsigned codes with signed bytes: the high and the low bytes of the
// activations apart. Included by avx_vnni/ and avx512_vnni/ after their lanes, DotBytes and OneChain.
#pragma once

#include <cstring>

namespace lem {
namespace {

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

// out[t] = the sums of codes x integers over kLines lines of a group, which begin at line `first`.
template <int kLines, int kTokens>
LEM_INLINE void Dots(const Codes* w, const std::byte* records, int64_t first, I32 (&out)[kTokens]) {
  const auto word = [&](int64_t t, int64_t l) LEM_INLINE_LAMBDA {
    return BroadcastWord(records + IntegerRows::kRecordBytes * static_cast<size_t>(t) + 4 * (first + l));
  };
  for (int64_t t = 0; t < kTokens; ++t) out[t] = ZeroInts();
  if constexpr (OneChain(kLines, kTokens)) {
    for (int64_t l = 0; l < kLines; ++l) {
      for (int64_t t = 0; t < kTokens; ++t) out[t] = DotBytes(out[t], w[l], word(t, l));
    }
    for (int64_t t = 0; t < kTokens; ++t) out[t] = ShiftLeft<8>(out[t]);
    for (int64_t l = 0; l < kLines; ++l) {
      for (int64_t t = 0; t < kTokens; ++t) out[t] = DotBytes(out[t], w[l], word(t, l + 8));
    }
  } else {
    I32 low[kTokens];
    for (int64_t t = 0; t < kTokens; ++t) low[t] = ZeroInts();
    for (int64_t l = 0; l < kLines; ++l) {
      for (int64_t t = 0; t < kTokens; ++t) {
        out[t] = DotBytes(out[t], w[l], word(t, l));
        low[t] = DotBytes(low[t], w[l], word(t, l + 8));
      }
    }
    for (int64_t t = 0; t < kTokens; ++t) out[t] = AddInts(ShiftLeft<8>(out[t]), low[t]);
  }
}

}  // namespace
}  // namespace lem
