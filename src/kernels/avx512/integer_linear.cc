// Integer products with AVX-512 and no VNNI: codes and integers are multiplied as pairs of 16 bits.
#include "kernels/avx512/integer_lanes.h"

namespace lem {
namespace {

constexpr Isa kIsa = Isa::kAvx512;

// A record: of each line of four columns, the pairs (0, 2) and (1, 3), as the codes' even and odd bytes meet them.
LEM_INLINE void StoreRecord(const int32_t* a, std::byte* record) {
  int16_t values[32];
  for (int64_t l = 0; l < 8; ++l) {
    values[4 * l] = static_cast<int16_t>(a[4 * l]);
    values[4 * l + 1] = static_cast<int16_t>(a[4 * l + 2]);
    values[4 * l + 2] = static_cast<int16_t>(a[4 * l + 1]);
    values[4 * l + 3] = static_cast<int16_t>(a[4 * l + 3]);
  }
  std::memcpy(record, values, sizeof(values));
}

// out[t] = the sums of codes x integers over kLines lines of a group, which begin at line `first`.
template <int kLines, int kTokens>
LEM_INLINE void Dots(const Codes* w, const std::byte* records, int64_t first, I32 (&out)[kTokens]) {
  for (int64_t t = 0; t < kTokens; ++t) out[t] = _mm512_setzero_si512();
  for (int64_t l = 0; l < kLines; ++l) {
    const I32 even = And(w[l], 0x00FF00FF);
    const I32 odd = _mm512_srli_epi16(w[l], 8);
    for (int64_t t = 0; t < kTokens; ++t) {
      const std::byte* record = records + IntegerRows::kRecordBytes * static_cast<size_t>(t) + 8 * (first + l);
      out[t] = _mm512_add_epi32(out[t], _mm512_madd_epi16(even, BroadcastWord(record)));
      out[t] = _mm512_add_epi32(out[t], _mm512_madd_epi16(odd, BroadcastWord(record + 4)));
    }
  }
}

}  // namespace
}  // namespace lem

// After the lanes that it is written against.
#include "kernels/generic/integer_linear_inl.h"
