#include "tensor/lanes.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "tensor/quant_blocks.h"

namespace lem {
namespace {

constexpr int kWords = 8;  // of four codes each, in a group of one row
using Codes = uint32_t[kWords];

uint32_t Load32(const void* p) {
  uint32_t word;
  std::memcpy(&word, p, 4);
  return word;
}
void Store32(void* p, uint32_t word) { std::memcpy(p, &word, 4); }
void OrInto(void* p, uint32_t word) { Store32(p, Load32(p) | word); }

constexpr uint32_t kLow4 = 0x0F0F0F0F, kLow2 = 0x03030303, kLow1 = 0x01010101;

// Bits 0..3 of x to the lowest bits of four bytes, and back.
constexpr uint32_t SpreadBits(uint32_t x) { return ((x & 15) * 0x00204081) & kLow1; }
constexpr uint32_t GatherBits(uint32_t x) { return ((x & kLow1) * 0x10204080) >> 28; }
static_assert(SpreadBits(0b1010) == 0x01000100 && GatherBits(0x01000100) == 0b1010);

// --- planes ---

// Writes a group of row r in planes of kBits bits a code.
template <int kBits>
void PutPlanes(const Codes& c, int64_t r, std::byte* group) {
  std::byte* line = group + 4 * r;
  const auto put = [&](uint32_t word) {
    Store32(line, word);
    line += kLaneLineBytes;
  };
  const auto put_pairs_of_bits = [&](int shift) {
    for (int64_t i = 0; i < 2; ++i) {
      uint32_t word = 0;
      for (int64_t j = 0; j < 4; ++j) word |= ((c[4 * i + j] >> shift) & kLow2) << (2 * j);
      put(word);
    }
  };
  const auto put_bits = [&](int shift) {
    uint32_t word = 0;
    for (int64_t l = 0; l < kWords; ++l) word |= ((c[l] >> shift) & kLow1) << l;
    put(word);
  };
  if constexpr (kBits == 8) {
    for (const uint32_t word : c) put(word);
    return;
  }
  if constexpr (kBits >= 4) {
    for (int64_t i = 0; i < 4; ++i) put((c[i] & kLow4) | (c[i + 4] & kLow4) << 4);
  }
  if constexpr (kBits == 6) put_pairs_of_bits(4);
  if constexpr (kBits == 5) put_bits(4);
  if constexpr (kBits <= 3) put_pairs_of_bits(0);
  if constexpr (kBits == 3) put_bits(2);
}

template <int kBits>
void GetPlanes(const std::byte* group, int64_t r, Codes& c) {
  const std::byte* line = group + 4 * r;
  const auto get = [&] {
    const uint32_t word = Load32(line);
    line += kLaneLineBytes;
    return word;
  };
  std::fill_n(c, kWords, 0u);
  const auto get_pairs_of_bits = [&](int shift) {
    for (int64_t i = 0; i < 2; ++i) {
      const uint32_t word = get();
      for (int64_t j = 0; j < 4; ++j) c[4 * i + j] |= ((word >> (2 * j)) & kLow2) << shift;
    }
  };
  const auto get_bits = [&](int shift) {
    const uint32_t word = get();
    for (int64_t l = 0; l < kWords; ++l) c[l] |= ((word >> l) & kLow1) << shift;
  };
  if constexpr (kBits == 8) {
    for (uint32_t& word : c) word = get();
    return;
  }
  if constexpr (kBits >= 4) {
    for (int64_t i = 0; i < 4; ++i) {
      const uint32_t word = get();
      c[i] = word & kLow4;
      c[i + 4] = (word >> 4) & kLow4;
    }
  }
  if constexpr (kBits == 6) get_pairs_of_bits(4);
  if constexpr (kBits == 5) get_bits(4);
  if constexpr (kBits <= 3) get_pairs_of_bits(0);
  if constexpr (kBits == 3) get_bits(2);
}

// --- blocks ---

// GetCodes: the codes of group g of a block. PutCodes: the other way; the block's codes are zero before. PutHeader and
// GetHeader: everything else of the block, from and to row r's place in a header; `sub` counts the blocks of a tile.
template <DType kType>
struct Packing;

void PutHalf(std::byte* header, int64_t array, int64_t r, uint16_t value) {
  std::memcpy(header + 32 * array + 2 * r, &value, 2);
}
uint16_t GetHalf(const std::byte* header, int64_t array, int64_t r) {
  uint16_t value;
  std::memcpy(&value, header + 32 * array + 2 * r, 2);
  return value;
}
constexpr size_t kSubScales = 64;  // where a K type's scales begin in its header

// Codes of 4 bits as in Q4_0: element i in the low, i + 16 in the high nibble of byte i.
void GetNibbles(const uint8_t* qs, Codes& c) {
  for (int64_t i = 0; i < 4; ++i) {
    const uint32_t word = Load32(qs + 4 * i);
    c[i] = word & kLow4;
    c[i + 4] = (word >> 4) & kLow4;
  }
}
void PutNibbles(const Codes& c, uint8_t* qs) {
  for (int64_t i = 0; i < 4; ++i) Store32(qs + 4 * i, (c[i] & kLow4) | (c[i + 4] & kLow4) << 4);
}
void GetFifthBits(const uint8_t* qh, Codes& c) {
  const uint32_t bits = Load32(qh);
  for (int64_t l = 0; l < kWords; ++l) c[l] |= SpreadBits(bits >> (4 * l)) << 4;
}
void PutFifthBits(const Codes& c, uint8_t* qh) {
  uint32_t bits = 0;
  for (int64_t l = 0; l < kWords; ++l) bits |= GatherBits(c[l] >> 4) << (4 * l);
  Store32(qh, bits);
}

template <>
struct Packing<DType::kQ4_0> {
  using Block = BlockQ4_0;
  static constexpr int kBits = 4;
  static void GetCodes(const Block& b, int64_t, Codes& c) { GetNibbles(b.qs, c); }
  static void PutCodes(const Codes& c, int64_t, Block& b) { PutNibbles(c, b.qs); }
  static void PutHeader(const Block& b, int64_t sub, int64_t r, std::byte* h) { PutHalf(h, sub, r, b.d); }
  static void GetHeader(const std::byte* h, int64_t sub, int64_t r, Block& b) { b.d = GetHalf(h, sub, r); }
};
template <>
struct Packing<DType::kQ4_1> {
  using Block = BlockQ4_1;
  static constexpr int kBits = 4;
  static void GetCodes(const Block& b, int64_t, Codes& c) { GetNibbles(b.qs, c); }
  static void PutCodes(const Codes& c, int64_t, Block& b) { PutNibbles(c, b.qs); }
  static void PutHeader(const Block& b, int64_t, int64_t r, std::byte* h) {
    PutHalf(h, 0, r, b.d);
    PutHalf(h, 1, r, b.m);
  }
  static void GetHeader(const std::byte* h, int64_t, int64_t r, Block& b) {
    b.d = GetHalf(h, 0, r);
    b.m = GetHalf(h, 1, r);
  }
};
template <>
struct Packing<DType::kQ5_0> {
  using Block = BlockQ5_0;
  static constexpr int kBits = 5;
  static void GetCodes(const Block& b, int64_t, Codes& c) {
    GetNibbles(b.qs, c);
    GetFifthBits(b.qh, c);
  }
  static void PutCodes(const Codes& c, int64_t, Block& b) {
    PutNibbles(c, b.qs);
    PutFifthBits(c, b.qh);
  }
  static void PutHeader(const Block& b, int64_t sub, int64_t r, std::byte* h) { PutHalf(h, sub, r, b.d); }
  static void GetHeader(const std::byte* h, int64_t sub, int64_t r, Block& b) { b.d = GetHalf(h, sub, r); }
};
template <>
struct Packing<DType::kQ5_1> {
  using Block = BlockQ5_1;
  static constexpr int kBits = 5;
  static void GetCodes(const Block& b, int64_t, Codes& c) {
    GetNibbles(b.qs, c);
    GetFifthBits(b.qh, c);
  }
  static void PutCodes(const Codes& c, int64_t, Block& b) {
    PutNibbles(c, b.qs);
    PutFifthBits(c, b.qh);
  }
  static void PutHeader(const Block& b, int64_t, int64_t r, std::byte* h) {
    PutHalf(h, 0, r, b.d);
    PutHalf(h, 1, r, b.m);
  }
  static void GetHeader(const std::byte* h, int64_t, int64_t r, Block& b) {
    b.d = GetHalf(h, 0, r);
    b.m = GetHalf(h, 1, r);
  }
};
template <>
struct Packing<DType::kQ8_0> {
  using Block = BlockQ8_0;
  static constexpr int kBits = 8;
  static constexpr uint32_t kSigns = 0x80808080;
  static void GetCodes(const Block& b, int64_t, Codes& c) {
    for (int64_t l = 0; l < kWords; ++l) c[l] = Load32(b.qs + 4 * l) ^ kSigns;
  }
  static void PutCodes(const Codes& c, int64_t, Block& b) {
    for (int64_t l = 0; l < kWords; ++l) Store32(b.qs + 4 * l, c[l] ^ kSigns);
  }
  static void PutHeader(const Block& b, int64_t sub, int64_t r, std::byte* h) { PutHalf(h, sub, r, b.d); }
  static void GetHeader(const std::byte* h, int64_t sub, int64_t r, Block& b) { b.d = GetHalf(h, sub, r); }
};

// Codes of 2 bits: element 128 h + 32 j + l in bits 2j, 2j + 1 of qs[32 h + l]; group g is (h, j).
void GetPairsOfBits(const uint8_t* qs, int64_t g, int shift, Codes& c) {
  for (int64_t l = 0; l < kWords; ++l) {
    c[l] |= ((Load32(qs + 32 * (g / 4) + 4 * l) >> (2 * (g % 4))) & kLow2) << shift;
  }
}
void PutPairsOfBits(const Codes& c, int64_t g, int shift, uint8_t* qs) {
  for (int64_t l = 0; l < kWords; ++l) {
    OrInto(qs + 32 * (g / 4) + 4 * l, ((c[l] >> shift) & kLow2) << (2 * (g % 4)));
  }
}
// One bit a code: element 32 g + l in bit g of byte l.
void GetBitOfBytes(const uint8_t* bytes, int64_t g, int shift, Codes& c) {
  for (int64_t l = 0; l < kWords; ++l) c[l] |= ((Load32(bytes + 4 * l) >> g) & kLow1) << shift;
}
void PutBitOfBytes(const Codes& c, int64_t g, int shift, uint8_t* bytes) {
  for (int64_t l = 0; l < kWords; ++l) OrInto(bytes + 4 * l, ((c[l] >> shift) & kLow1) << g);
}

template <>
struct Packing<DType::kQ2_K> {
  using Block = BlockQ2_K;
  static constexpr int kBits = 2;
  static void GetCodes(const Block& b, int64_t g, Codes& c) {
    std::fill_n(c, kWords, 0u);
    GetPairsOfBits(b.qs, g, 0, c);
  }
  static void PutCodes(const Codes& c, int64_t g, Block& b) { PutPairsOfBits(c, g, 0, b.qs); }
  static void PutHeader(const Block& b, int64_t, int64_t r, std::byte* h) {
    PutHalf(h, 0, r, b.d);
    PutHalf(h, 1, r, b.dmin);
    for (size_t s = 0; s < 16; ++s) h[kSubScales + 16 * s + static_cast<size_t>(r)] = std::byte{b.scales[s]};
  }
  static void GetHeader(const std::byte* h, int64_t, int64_t r, Block& b) {
    b.d = GetHalf(h, 0, r);
    b.dmin = GetHalf(h, 1, r);
    for (size_t s = 0; s < 16; ++s) b.scales[s] = static_cast<uint8_t>(h[kSubScales + 16 * s + static_cast<size_t>(r)]);
  }
};

template <>
struct Packing<DType::kQ3_K> {
  using Block = BlockQ3_K;
  static constexpr int kBits = 3;
  static void GetCodes(const Block& b, int64_t g, Codes& c) {
    std::fill_n(c, kWords, 0u);
    GetPairsOfBits(b.qs, g, 0, c);
    GetBitOfBytes(b.hmask, g, 2, c);
  }
  static void PutCodes(const Codes& c, int64_t g, Block& b) {
    PutPairsOfBits(c, g, 0, b.qs);
    PutBitOfBytes(c, g, 2, b.hmask);
  }
  static void PutHeader(const Block& b, int64_t, int64_t r, std::byte* h) {
    PutHalf(h, 0, r, b.d);
    for (size_t s = 0; s < 16; ++s) {
      const int low = s < 8 ? b.scales[s] & 15 : b.scales[s - 8] >> 4;
      const int high = (b.scales[8 + s % 4] >> (2 * (s / 4))) & 3;
      h[kSubScales + 16 * s + static_cast<size_t>(r)] = static_cast<std::byte>((low | high << 4) - 32);
    }
  }
  static void GetHeader(const std::byte* h, int64_t, int64_t r, Block& b) {
    b.d = GetHalf(h, 0, r);
    std::fill_n(b.scales, 12, uint8_t{0});
    for (size_t s = 0; s < 16; ++s) {
      const auto scale =
          static_cast<uint8_t>(static_cast<uint8_t>(h[kSubScales + 16 * s + static_cast<size_t>(r)]) + 32);
      b.scales[s % 8] = static_cast<uint8_t>(b.scales[s % 8] | (scale & 15) << (s < 8 ? 0 : 4));
      b.scales[8 + s % 4] = static_cast<uint8_t>(b.scales[8 + s % 4] | (scale >> 4) << (2 * (s / 4)));
    }
  }
};

// Q4_K and Q5_K: scales and minima of 6 bits in 12 bytes (quant_blocks.h).
void PutSixBitScales(const uint8_t* scales, int64_t r, std::byte* h) {
  for (size_t s = 0; s < 8; ++s) {
    const int scale = s < 4 ? scales[s] & 63 : (scales[s + 4] & 15) | (scales[s - 4] >> 6) << 4;
    const int min = s < 4 ? scales[s + 4] & 63 : scales[s + 4] >> 4 | (scales[s] >> 6) << 4;
    h[kSubScales + 16 * s + static_cast<size_t>(r)] = static_cast<std::byte>(scale);
    h[kSubScales + 128 + 16 * s + static_cast<size_t>(r)] = static_cast<std::byte>(min);
  }
}
void GetSixBitScales(const std::byte* h, int64_t r, uint8_t* scales) {
  std::fill_n(scales, 12, uint8_t{0});
  const auto add = [&](size_t i, int bits) { scales[i] = static_cast<uint8_t>(scales[i] | bits); };
  for (size_t s = 0; s < 8; ++s) {
    const int scale = static_cast<int>(h[kSubScales + 16 * s + static_cast<size_t>(r)]);
    const int min = static_cast<int>(h[kSubScales + 128 + 16 * s + static_cast<size_t>(r)]);
    if (s < 4) {
      add(s, scale);
      add(s + 4, min);
    } else {
      add(s + 4, (scale & 15) | (min & 15) << 4);
      add(s - 4, (scale >> 4) << 6);
      add(s, (min >> 4) << 6);
    }
  }
}
// Nibbles of K types: elements 64 j + l and 64 j + 32 + l in the low and high nibble of qs[32 j + l].
void GetPairedNibbles(const uint8_t* qs, int64_t g, Codes& c) {
  for (int64_t l = 0; l < kWords; ++l) c[l] = (Load32(qs + 32 * (g / 2) + 4 * l) >> (4 * (g % 2))) & kLow4;
}
void PutPairedNibbles(const Codes& c, int64_t g, uint8_t* qs) {
  for (int64_t l = 0; l < kWords; ++l) OrInto(qs + 32 * (g / 2) + 4 * l, (c[l] & kLow4) << (4 * (g % 2)));
}

template <>
struct Packing<DType::kQ4_K> {
  using Block = BlockQ4_K;
  static constexpr int kBits = 4;
  static void GetCodes(const Block& b, int64_t g, Codes& c) { GetPairedNibbles(b.qs, g, c); }
  static void PutCodes(const Codes& c, int64_t g, Block& b) { PutPairedNibbles(c, g, b.qs); }
  static void PutHeader(const Block& b, int64_t, int64_t r, std::byte* h) {
    PutHalf(h, 0, r, b.d);
    PutHalf(h, 1, r, b.dmin);
    PutSixBitScales(b.scales, r, h);
  }
  static void GetHeader(const std::byte* h, int64_t, int64_t r, Block& b) {
    b.d = GetHalf(h, 0, r);
    b.dmin = GetHalf(h, 1, r);
    GetSixBitScales(h, r, b.scales);
  }
};
template <>
struct Packing<DType::kQ5_K> {
  using Block = BlockQ5_K;
  static constexpr int kBits = 5;
  static void GetCodes(const Block& b, int64_t g, Codes& c) {
    GetPairedNibbles(b.qs, g, c);
    GetBitOfBytes(b.qh, g, 4, c);
  }
  static void PutCodes(const Codes& c, int64_t g, Block& b) {
    PutPairedNibbles(c, g, b.qs);
    PutBitOfBytes(c, g, 4, b.qh);
  }
  static void PutHeader(const Block& b, int64_t, int64_t r, std::byte* h) {
    PutHalf(h, 0, r, b.d);
    PutHalf(h, 1, r, b.dmin);
    PutSixBitScales(b.scales, r, h);
  }
  static void GetHeader(const std::byte* h, int64_t, int64_t r, Block& b) {
    b.d = GetHalf(h, 0, r);
    b.dmin = GetHalf(h, 1, r);
    GetSixBitScales(h, r, b.scales);
  }
};

template <>
struct Packing<DType::kQ6_K> {
  using Block = BlockQ6_K;
  static constexpr int kBits = 6;
  // Group g = 4 h + j: low bits in ql[64 h + 32 (j % 2) + l], in the high nibbles from j = 2 on.
  static size_t LowBytes(int64_t g) { return static_cast<size_t>(64 * (g / 4) + 32 * (g % 2)); }
  static int64_t LowShift(int64_t g) { return 4 * (g % 4 / 2); }
  static void GetCodes(const Block& b, int64_t g, Codes& c) {
    for (int64_t l = 0; l < kWords; ++l) c[l] = (Load32(b.ql + LowBytes(g) + 4 * l) >> LowShift(g)) & kLow4;
    GetPairsOfBits(b.qh, g, 4, c);
  }
  static void PutCodes(const Codes& c, int64_t g, Block& b) {
    for (int64_t l = 0; l < kWords; ++l) OrInto(b.ql + LowBytes(g) + 4 * l, (c[l] & kLow4) << LowShift(g));
    PutPairsOfBits(c, g, 4, b.qh);
  }
  static void PutHeader(const Block& b, int64_t, int64_t r, std::byte* h) {
    PutHalf(h, 0, r, b.d);
    for (size_t s = 0; s < 16; ++s)
      h[kSubScales + 16 * s + static_cast<size_t>(r)] = static_cast<std::byte>(b.scales[s]);
  }
  static void GetHeader(const std::byte* h, int64_t, int64_t r, Block& b) {
    b.d = GetHalf(h, 0, r);
    for (size_t s = 0; s < 16; ++s) b.scales[s] = static_cast<int8_t>(h[kSubScales + 16 * s + static_cast<size_t>(r)]);
  }
};

// Calls visit.operator()<type>(). REQUIRES: HasLanes(dtype).
template <typename Visitor>
void VisitPacked(DType dtype, Visitor visit) {
  switch (dtype) {
    case DType::kQ4_0:
      return visit.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return visit.template operator()<DType::kQ4_1>();
    case DType::kQ5_0:
      return visit.template operator()<DType::kQ5_0>();
    case DType::kQ5_1:
      return visit.template operator()<DType::kQ5_1>();
    case DType::kQ8_0:
      return visit.template operator()<DType::kQ8_0>();
    case DType::kQ2_K:
      return visit.template operator()<DType::kQ2_K>();
    case DType::kQ3_K:
      return visit.template operator()<DType::kQ3_K>();
    case DType::kQ4_K:
      return visit.template operator()<DType::kQ4_K>();
    case DType::kQ5_K:
      return visit.template operator()<DType::kQ5_K>();
    case DType::kQ6_K:
      return visit.template operator()<DType::kQ6_K>();
    default:
      LEM_CHECK(false) << "type " << static_cast<uint32_t>(dtype) << " has no lanes";
  }
}

template <DType kType>
void PackStrip(const std::byte* rows, size_t row_bytes, int64_t num_rows, int64_t k, std::byte* out) {
  using P = Packing<kType>;
  using Block = typename P::Block;
  constexpr LaneFormat kFormat = LaneFormatOf(kType);
  const int64_t block_groups = GetDTypeInfo(kType).block_elements / kLaneGroup;
  const int64_t num_blocks = k / kLaneGroup / block_groups;
  const int64_t blocks_a_tile = kFormat.tile_groups / block_groups;
  if (num_rows < kLaneRows || num_blocks % blocks_a_tile != 0) std::memset(out, 0, LaneStripBytes(kType, k));
  for (int64_t block = 0; block < num_blocks; ++block) {
    std::byte* tile = out + static_cast<size_t>(block / blocks_a_tile) * kFormat.tile_bytes();
    const int64_t sub = block % blocks_a_tile;
    std::byte* groups = tile + kFormat.header_bytes + static_cast<size_t>(sub) * kFormat.group_bytes;
    for (int64_t r = 0; r < num_rows; ++r) {
      const auto& b = *reinterpret_cast<const Block*>(rows + static_cast<size_t>(r) * row_bytes +
                                                      static_cast<size_t>(block) * sizeof(Block));
      P::PutHeader(b, sub, r, tile);
      for (int64_t g = 0; g < block_groups; ++g) {
        Codes codes;
        P::GetCodes(b, g, codes);
        PutPlanes<P::kBits>(codes, r, groups + static_cast<size_t>(g) * kFormat.group_bytes);
      }
    }
  }
}

template <DType kType>
void UnpackRow(const std::byte* strip, int64_t row, int64_t k, std::byte* out) {
  using P = Packing<kType>;
  using Block = typename P::Block;
  constexpr LaneFormat kFormat = LaneFormatOf(kType);
  const int64_t block_groups = GetDTypeInfo(kType).block_elements / kLaneGroup;
  const int64_t num_blocks = k / kLaneGroup / block_groups;
  const int64_t blocks_a_tile = kFormat.tile_groups / block_groups;
  for (int64_t block = 0; block < num_blocks; ++block) {
    const std::byte* tile = strip + static_cast<size_t>(block / blocks_a_tile) * kFormat.tile_bytes();
    const int64_t sub = block % blocks_a_tile;
    const std::byte* groups = tile + kFormat.header_bytes + static_cast<size_t>(sub) * kFormat.group_bytes;
    Block b{};
    P::GetHeader(tile, sub, row, b);
    for (int64_t g = 0; g < block_groups; ++g) {
      Codes codes;
      GetPlanes<P::kBits>(groups + static_cast<size_t>(g) * kFormat.group_bytes, row, codes);
      P::PutCodes(codes, g, b);
    }
    std::memcpy(out + static_cast<size_t>(block) * sizeof(Block), &b, sizeof(Block));
  }
}

}  // namespace

void PackLaneStrip(DType dtype, const std::byte* rows, size_t row_bytes, int64_t num_rows, int64_t k, std::byte* out) {
  VisitPacked(dtype, [&]<DType kType>() { PackStrip<kType>(rows, row_bytes, num_rows, k, out); });
}

void UnpackLaneRow(DType dtype, const std::byte* strip, int64_t row, int64_t k, std::byte* out) {
  VisitPacked(dtype, [&]<DType kType>() { UnpackRow<kType>(strip, row, k, out); });
}

}  // namespace lem
