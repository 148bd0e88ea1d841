// Weights as GGUF stores them, read in chunks of 32 elements. The layouts are described in tensor/quant_blocks.h.
//
// TYPE is a specialisation constant, so that one module serves every type and the driver drops the other cases. A chunk
// of a quantised type is brought into one form: 8 words of 4 byte-sized integers q in the order of the elements, and for
// each half of 16 elements a scale and a minimum: value = scale * (q - OFFSET) - minimum. All products are exact in
// float32 (see quant_blocks.h), so the order of the operations does not matter.
//
// Blocks begin at multiples of the largest power of two, up to 8, that divides their size: of some types at any multiple
// of 2. Everything is read as
// aligned 64-bit words, only words that hold a byte of the block (so that no load crosses into memory that is not
// there), and then shifted by as many 16-bit halves as the block begins later.

layout(constant_id = 1) const uint TYPE = 0;  // DType

const uint F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8;
const uint Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14, BF16 = 30;

// Plain types: no scales; the elements themselves are loaded.
const bool IS_PLAIN = TYPE == F32 || TYPE == F16 || TYPE == BF16;
const bool HAS_MINIMUM = TYPE == Q4_1 || TYPE == Q5_1 || TYPE == Q2_K || TYPE == Q4_K || TYPE == Q5_K;
// What is taken off the stored integer. Q8_0's signed bytes are made unsigned first.
const float OFFSET = TYPE == Q4_0 ? 8.0 : TYPE == Q5_0 ? 16.0 : TYPE == Q8_0 ? 128.0
                     : TYPE == Q3_K ? 4.0 : TYPE == Q6_K ? 32.0 : 0.0;

struct Chunk {
  uint q[8];
  vec2 scale;
  vec2 minimum;
};

uint64_t aligned(uint64_t address) { return address & ~uint64_t(7); }
// 16-bit halves from the aligned word to the address: 0 to 3.
uint halves_of(uint64_t address) { return (uint(address) >> 1) & 3u; }

// The 16 bits at an even byte offset.
uint short_at(uint64_t address, uint offset) { return uint(Shorts(address).at[offset >> 1]); }
float half_at(uint64_t address) { return unpackHalf2x16(short_at(address, 0)).x; }

// words[2 i], words[2 i + 1] = 64-bit word i from an address that is a multiple of 8, i < N; those past `last` are read
// from it instead.
#define LOAD_LONGS_UP_TO(N, last, words, address)                                             \
  {                                                                                           \
    Longs longs = Longs(address);                                                             \
    [[unroll]] for (uint i = 0; i < N; ++i) {                                                 \
      const uvec2 pair = unpack32(longs.at[min(i, last)]);                                    \
      words[2 * i] = pair.x;                                                                  \
      words[2 * i + 1] = pair.y;                                                              \
    }                                                                                         \
  }
#define LOAD_LONGS(N, words, address) LOAD_LONGS_UP_TO(N, N - 1, words, address)

// result[i] = the word that begins `halves` (0 to 4) halves after words[i], i < N, of SIZE words.
#define SHIFT_WORDS(N, result, SIZE, words, halves)                                           \
  {                                                                                           \
    const uint shift_by = halves;                                                             \
    uint moved[N + 1];                                                                        \
    [[unroll]] for (uint i = 0; i <= N; ++i) {                                                \
      moved[i] = shift_by < 2 ? words[min(i, SIZE - 1)]                                       \
                 : shift_by < 4 ? words[min(i + 1, SIZE - 1)]                                 \
                                : words[min(i + 2, SIZE - 1)];                                \
    }                                                                                         \
    [[unroll]] for (uint i = 0; i < N; ++i) {                                                 \
      result[i] = (shift_by & 1u) != 0 ? (moved[i] >> 16) | (moved[i + 1] << 16) : moved[i];  \
    }                                                                                         \
  }

// 32 bytes from an even address on; a word after the last one is read too, which must belong to the block.
#define LOAD_32_BYTES(result, address)                                                        \
  {                                                                                           \
    uint loaded[10];                                                                          \
    LOAD_LONGS(5, loaded, aligned(address))                                                   \
    SHIFT_WORDS(8, result, 10, loaded, halves_of(address))                                    \
  }

// The float16 at the start of a block whose aligned words are given.
float first_half(uint word0, uint word1, uint halves) {
  const uint word = halves < 2 ? word0 : word1;
  return unpackHalf2x16((halves & 1u) != 0 ? word >> 16 : word).x;
}

// Puts bit i of `bits` (i < 4) into bit 4 of byte i.
uint spread_to_bit4(uint bits) {
  return ((bits & 1u) << 4) | ((bits & 2u) << 11) | ((bits & 4u) << 18) | ((bits & 8u) << 25);
}

// --- blocks of 32: one chunk each ---

void nibbles(uint word, uint i, inout Chunk c) {
  c.q[i] = word & 0x0F0F0F0Fu;
  c.q[i + 4] = (word >> 4) & 0x0F0F0F0Fu;
}

void add_fifth_bits(uint qh, inout Chunk c) {
  [[unroll]] for (uint i = 0; i < 8; ++i) c.q[i] |= spread_to_bit4(qh >> (4 * i));
}

Chunk load_q4_0(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk) * 18;  // in 3 words wherever it begins
  const uint halves = halves_of(block);
  Chunk c;
  uint loaded[6], w[4];
  LOAD_LONGS(3, loaded, aligned(block))
  SHIFT_WORDS(4, w, 6, loaded, halves + 1)
  c.scale = vec2(first_half(loaded[0], loaded[1], halves));
  c.minimum = vec2(0);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i], i, c);
  return c;
}

Chunk load_q4_1(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk) * 20;  // at a multiple of 4, so in 3 words
  Chunk c;
  uint loaded[6], w[5];
  LOAD_LONGS(3, loaded, aligned(block))
  SHIFT_WORDS(5, w, 6, loaded, halves_of(block))
  const vec2 d_m = unpackHalf2x16(w[0]);
  c.scale = vec2(d_m.x);
  c.minimum = vec2(-d_m.y);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i + 1], i, c);
  return c;
}

Chunk load_q5_0(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk) * 22;  // in 3 words, or 4 if it begins past the first half of one
  const uint halves = halves_of(block);
  Chunk c;
  uint loaded[8], w[5];
  LOAD_LONGS_UP_TO(4, (halves < 2 ? 2 : 3), loaded, aligned(block))
  SHIFT_WORDS(5, w, 8, loaded, halves + 1)
  c.scale = vec2(first_half(loaded[0], loaded[1], halves));
  c.minimum = vec2(0);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i + 1], i, c);
  add_fifth_bits(w[0], c);
  return c;
}

Chunk load_q5_1(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk) * 24;  // at a multiple of 4: in 3 words or 4
  const uint halves = halves_of(block);
  Chunk c;
  uint loaded[8], w[6];
  LOAD_LONGS_UP_TO(4, (halves == 0 ? 2 : 3), loaded, aligned(block))
  SHIFT_WORDS(6, w, 8, loaded, halves)
  const vec2 d_m = unpackHalf2x16(w[0]);
  c.scale = vec2(d_m.x);
  c.minimum = vec2(-d_m.y);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i + 2], i, c);
  add_fifth_bits(w[1], c);
  return c;
}

Chunk load_q8_0(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk) * 34;  // in 5 words wherever it begins
  const uint halves = halves_of(block);
  Chunk c;
  uint loaded[10];
  LOAD_LONGS(5, loaded, aligned(block))
  SHIFT_WORDS(8, c.q, 10, loaded, halves + 1)
  [[unroll]] for (uint i = 0; i < 8; ++i) c.q[i] ^= 0x80808080u;
  c.scale = vec2(first_half(loaded[0], loaded[1], halves));
  c.minimum = vec2(0);
  return c;
}

// --- super-blocks of 256: 8 chunks each; chunk s is sub-block s (of 32) or sub-blocks 2 s, 2 s + 1 (of 16) ---

uint byte_of(uint word, uint i) { return (word >> (8 * i)) & 255u; }

Chunk load_q2_k(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk >> 3) * 84;
  const uint s = chunk & 7;
  Chunk c;
  const uint scales = short_at(block, 2 * s);
  const vec2 d = unpackHalf2x16(Uints(block + 80).at[0]);
  c.scale = d.x * vec2(scales & 15u, (scales >> 8) & 15u);
  c.minimum = d.y * vec2((scales >> 4) & 15u, scales >> 12);
  LOAD_32_BYTES(c.q, block + 16 + 32 * (s >> 2))
  const uint shift = 2 * (s & 3);
  [[unroll]] for (uint i = 0; i < 8; ++i) c.q[i] = (c.q[i] >> shift) & 0x03030303u;
  return c;
}

Chunk load_q3_k(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk >> 3) * 110;
  const uint s = chunk & 7;
  Chunk c;
  // The last 14 bytes: 12 of scales, then d.
  const uint64_t tail = block + 96;
  const uint halves = halves_of(tail);
  uint loaded[6], w[4];
  LOAD_LONGS_UP_TO(3, (halves < 2 ? 1 : 2), loaded, aligned(tail))
  SHIFT_WORDS(4, w, 6, loaded, halves)
  // Sub-blocks 2 s and 2 s + 1 of 16: low nibbles in bytes (2 s) % 8 on, upper bits in bytes 8 + (2 s) % 4 on.
  const uint low = ((s & 2) == 0 ? w[0] : w[1]) >> (16 * (s & 1)) >> (s < 4 ? 0 : 4);
  const uint high = w[2] >> (16 * (s & 1)) >> (2 * (s >> 1));
  const vec2 scales = vec2((low & 15u) | ((high & 3u) << 4), ((low >> 8) & 15u) | (((high >> 8) & 3u) << 4));
  c.scale = unpackHalf2x16(w[3]).x * (scales - vec2(32));
  c.minimum = vec2(0);
  LOAD_32_BYTES(c.q, block + 32 + 32 * (s >> 2))
  uint mask[8];
  LOAD_32_BYTES(mask, block)
  const uint shift = 2 * (s & 3);
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    c.q[i] = ((c.q[i] >> shift) & 0x03030303u) | (((mask[i] >> s) & 0x01010101u) << 2);
  }
  return c;
}

// d * scale and dmin * minimum of sub-block s (of 32) of Q4_K and Q5_K: d, dmin and 12 bytes of scales from `block` on.
// These blocks begin at multiples of 8.
void k_scales(uint64_t block, uint s, inout Chunk c) {
  uint w[4];
  LOAD_LONGS(2, w, block)
  const vec2 d = unpackHalf2x16(w[0]);
  const uint a = byte_of(w[1], s & 3), b = byte_of(w[2], s & 3), low = byte_of(w[3], s & 3);
  const uint scale = s < 4 ? a & 63u : (low & 15u) | ((a >> 6) << 4);
  const uint minimum = s < 4 ? b & 63u : (low >> 4) | ((b >> 6) << 4);
  c.scale = vec2(d.x * float(scale));
  c.minimum = vec2(d.y * float(minimum));
}

Chunk load_q4_k(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk >> 3) * 144;
  const uint s = chunk & 7;
  Chunk c;
  k_scales(block, s, c);
  LOAD_LONGS(4, c.q, block + 16 + 32 * (s >> 1))
  const uint shift = 4 * (s & 1);
  [[unroll]] for (uint i = 0; i < 8; ++i) c.q[i] = (c.q[i] >> shift) & 0x0F0F0F0Fu;
  return c;
}

Chunk load_q5_k(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk >> 3) * 176;
  const uint s = chunk & 7;
  Chunk c;
  k_scales(block, s, c);
  LOAD_LONGS(4, c.q, block + 48 + 32 * (s >> 1))
  uint high[8];
  LOAD_LONGS(4, high, block + 16)
  const uint shift = 4 * (s & 1);
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    c.q[i] = ((c.q[i] >> shift) & 0x0F0F0F0Fu) | (((high[i] >> s) & 0x01010101u) << 4);
  }
  return c;
}

Chunk load_q6_k(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk >> 3) * 210;
  const uint s = chunk & 7;  // 4 (half) + j
  const uint j = s & 3;
  Chunk c;
  const uint scales = short_at(block + 192, 2 * s);
  c.scale = half_at(block + 208) * vec2(int(scales << 24) >> 24, int(scales << 16) >> 24);
  c.minimum = vec2(0);
  LOAD_32_BYTES(c.q, block + 64 * (s >> 2) + 32 * (j & 1))
  uint high[8];
  LOAD_32_BYTES(high, block + 128 + 32 * (s >> 2))
  const uint shift = 4 * (j >> 1);
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    c.q[i] = ((c.q[i] >> shift) & 0x0F0F0F0Fu) | (((high[i] >> (2 * j)) & 0x03030303u) << 4);
  }
  return c;
}

// REQUIRES: !IS_PLAIN.
Chunk load_chunk(uint64_t row, uint chunk) {
  if (TYPE == Q4_0) return load_q4_0(row, chunk);
  if (TYPE == Q4_1) return load_q4_1(row, chunk);
  if (TYPE == Q5_0) return load_q5_0(row, chunk);
  if (TYPE == Q5_1) return load_q5_1(row, chunk);
  if (TYPE == Q8_0) return load_q8_0(row, chunk);
  if (TYPE == Q2_K) return load_q2_k(row, chunk);
  if (TYPE == Q3_K) return load_q3_k(row, chunk);
  if (TYPE == Q4_K) return load_q4_k(row, chunk);
  if (TYPE == Q5_K) return load_q5_k(row, chunk);
  return load_q6_k(row, chunk);
}

// q - OFFSET of elements 4 i to 4 i + 3 of a chunk.
vec4 integers(uint q) {
  return vec4(q & 255u, (q >> 8) & 255u, (q >> 16) & 255u, q >> 24) - vec4(OFFSET);
}

// --- plain types ---

// Elements k to k + 15 of a row of a plain type; k is a multiple of 16. With `whole` (a compile-time constant) the row's
// address is a multiple of 8 and all 16 exist; otherwise elements from `end` on are 0.
void load_plain16(uint64_t row, uint k, uint end, bool whole, out vec4 values[4]) {
  const uint element_bytes = TYPE == F32 ? 4 : 2;
  const uint64_t address = row + uint64_t(k) * element_bytes;
  if (whole) {
    uint w[16];
    if (TYPE == F32) {
      LOAD_LONGS(8, w, address)
    } else {
      LOAD_LONGS(4, w, address)
    }
    [[unroll]] for (uint i = 0; i < 4; ++i) {
      if (TYPE == F32) {
        values[i] = uintBitsToFloat(uvec4(w[4 * i], w[4 * i + 1], w[4 * i + 2], w[4 * i + 3]));
      } else if (TYPE == F16) {
        values[i] = vec4(unpackHalf2x16(w[2 * i]), unpackHalf2x16(w[2 * i + 1]));
      } else {
        values[i] = uintBitsToFloat(uvec4(w[2 * i] << 16, w[2 * i] & 0xFFFF0000u, w[2 * i + 1] << 16,
                                          w[2 * i + 1] & 0xFFFF0000u));
      }
    }
    return;
  }
  [[unroll]] for (uint i = 0; i < 16; ++i) {
    float value = 0;
    if (k + i < end) {
      if (TYPE == F32) {
        value = Floats(address).at[i];
      } else {
        const uint bits = uint(Shorts(address).at[i]);
        value = TYPE == F16 ? unpackHalf2x16(bits).x : uintBitsToFloat(bits << 16);
      }
    }
    values[i / 4][i % 4] = value;
  }
}

// Elements 16 h to 16 h + 15 of a chunk, dequantised. `quantised` is the chunk itself unless the type is plain.
void dequantise16(Chunk quantised, uint64_t row, uint chunk, uint h, uint end, bool whole, out vec4 values[4]) {
  if (IS_PLAIN) {
    load_plain16(row, chunk * 32 + h * 16, end, whole, values);
    return;
  }
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    values[i] = quantised.scale[h] * integers(quantised.q[4 * h + i]);
    if (HAS_MINIMUM) values[i] -= vec4(quantised.minimum[h]);
  }
}
