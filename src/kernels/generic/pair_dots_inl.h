// Integer products without VNNI: codes and integers are multiplied as pairs of 16 bits. Included by avx2/ and avx512/
// after their lanes.
#pragma once

#include <cstring>

namespace lem {
namespace {

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
  for (int64_t t = 0; t < kTokens; ++t) out[t] = ZeroInts();
  for (int64_t l = 0; l < kLines; ++l) {
    const I32 even = And(w[l], 0x00FF00FF);
    const I32 odd = ShiftRightPairs<8>(w[l]);
    for (int64_t t = 0; t < kTokens; ++t) {
      const std::byte* record = records + IntegerRows::kRecordBytes * static_cast<size_t>(t) + 8 * (first + l);
      out[t] = AddInts(out[t], DotPairs(even, BroadcastWord(record)));
      out[t] = AddInts(out[t], DotPairs(odd, BroadcastWord(record + 4)));
    }
  }
}

}  // namespace
}  // namespace lem
