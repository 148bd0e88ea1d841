// Weights as GGUF stores them, read in chunks of 32 elements. The layouts are described in tensor/quant_blocks.h.
//
// TYPE is a specialisation constant, so that one module serves every type and the driver drops the other cases. A chunk
// of a quantised type is brought into one form: 8 words of 4 byte-sized integers q in the order of the elements, and for
// each half of 16 elements a scale and a minimum: value = scale * (q - OFFSET) - minimum. All products are exact in
// float32 (see quant_blocks.h), so the order of the operations does not matter.
//
// Weights begin at multiples of 4 bytes, but rows and blocks of some types at multiples of 2. Everything is read as
// aligned 32-bit words, only words that hold a byte of the block: where a block begins in the middle of one ("odd"), two
// neighbours are joined.

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

float half_at(uint64_t address) { return unpackHalf2x16(uint(Shorts(address).at[0])).x; }

// The 16 bits at byte `offset` (even) of the words from `address` on.
uint short_at(uint64_t address, uint offset) { return uint(Shorts(address).at[offset >> 1]); }

// The 4 bytes that begin in the middle of one word and end in the middle of the next.
uint straddling(uint low, uint high) { return (low >> 16) | (high << 16); }

bool is_odd(uint64_t address) { return (uint(address) & 2u) != 0; }
Uints aligned_words(uint64_t address) { return Uints(address & ~uint64_t(3)); }

// result[i] = word i from a multiple of 4 on.
#define LOAD_WORDS(N, result, address)                                        \
  {                                                                           \
    Uints words = Uints(address);                                             \
    [[unroll]] for (uint i = 0; i < N; ++i) result[i] = words.at[i];          \
  }

// As LOAD_WORDS from a multiple of 2 on; one word more than needed is read, which must belong to the block.
#define LOAD_WORDS_INSIDE(N, result, address)                                 \
  {                                                                           \
    const bool odd = is_odd(address);                                         \
    Uints words = aligned_words(address);                                     \
    uint this_word = words.at[0];                                             \
    [[unroll]] for (uint i = 0; i < N; ++i) {                                 \
      const uint next_word = words.at[i + 1];                                 \
      result[i] = odd ? straddling(this_word, next_word) : this_word;         \
      this_word = next_word;                                                  \
    }                                                                         \
  }

// A block of 2 + 4 N bytes: d, then N words. Either way it lies in N + 1 aligned words.
#define LOAD_D_AND_WORDS(N, d, result, address)                               \
  {                                                                           \
    const bool odd = is_odd(address);                                         \
    Uints words = aligned_words(address);                                     \
    uint this_word = words.at[0];                                             \
    d = unpackHalf2x16(odd ? this_word >> 16 : this_word).x;                  \
    [[unroll]] for (uint i = 0; i < N; ++i) {                                 \
      const uint next_word = words.at[i + 1];                                 \
      result[i] = odd ? next_word : straddling(this_word, next_word);         \
      this_word = next_word;                                                  \
    }                                                                         \
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
  Chunk c;
  float d;
  uint w[4];
  LOAD_D_AND_WORDS(4, d, w, row + uint64_t(chunk) * 18)
  c.scale = vec2(d);
  c.minimum = vec2(0);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i], i, c);
  return c;
}

Chunk load_q4_1(uint64_t row, uint chunk) {
  Chunk c;
  uint w[5];
  LOAD_WORDS(5, w, row + uint64_t(chunk) * 20)
  const vec2 d_m = unpackHalf2x16(w[0]);
  c.scale = vec2(d_m.x);
  c.minimum = vec2(-d_m.y);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i + 1], i, c);
  return c;
}

Chunk load_q5_0(uint64_t row, uint chunk) {
  Chunk c;
  float d;
  uint w[5];
  LOAD_D_AND_WORDS(5, d, w, row + uint64_t(chunk) * 22)
  c.scale = vec2(d);
  c.minimum = vec2(0);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i + 1], i, c);
  add_fifth_bits(w[0], c);
  return c;
}

Chunk load_q5_1(uint64_t row, uint chunk) {
  Chunk c;
  uint w[6];
  LOAD_WORDS(6, w, row + uint64_t(chunk) * 24)
  const vec2 d_m = unpackHalf2x16(w[0]);
  c.scale = vec2(d_m.x);
  c.minimum = vec2(-d_m.y);
  [[unroll]] for (uint i = 0; i < 4; ++i) nibbles(w[i + 2], i, c);
  add_fifth_bits(w[1], c);
  return c;
}

Chunk load_q8_0(uint64_t row, uint chunk) {
  Chunk c;
  float d;
  LOAD_D_AND_WORDS(8, d, c.q, row + uint64_t(chunk) * 34)
  [[unroll]] for (uint i = 0; i < 8; ++i) c.q[i] ^= 0x80808080u;
  c.scale = vec2(d);
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
  LOAD_WORDS(8, c.q, block + 16 + 32 * (s >> 2))
  const uint shift = 2 * (s & 3);
  [[unroll]] for (uint i = 0; i < 8; ++i) c.q[i] = (c.q[i] >> shift) & 0x03030303u;
  return c;
}

// The 6-bit scale of sub-block s (of 16).
float q3_scale(uint64_t scales, uint s) {
  const uint low = byte_of(short_at(scales, (s & 7) & ~1u), s & 1) >> (s < 8 ? 0 : 4) & 15u;
  const uint high = byte_of(short_at(scales, 8 + ((s & 3) & ~1u)), s & 1) >> (2 * (s >> 2)) & 3u;
  return float(low | (high << 4)) - 32.0;
}

Chunk load_q3_k(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk >> 3) * 110;
  const uint s = chunk & 7;
  Chunk c;
  c.scale = half_at(block + 108) * vec2(q3_scale(block + 96, 2 * s), q3_scale(block + 96, 2 * s + 1));
  c.minimum = vec2(0);
  LOAD_WORDS_INSIDE(8, c.q, block + 32 + 32 * (s >> 2))
  uint mask[8];
  LOAD_WORDS_INSIDE(8, mask, block)
  const uint shift = 2 * (s & 3);
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    c.q[i] = ((c.q[i] >> shift) & 0x03030303u) | (((mask[i] >> s) & 0x01010101u) << 2);
  }
  return c;
}

// d * scale and dmin * minimum of sub-block s (of 32) of Q4_K and Q5_K: d, dmin and 12 bytes of scales from `block` on.
void k_scales(uint64_t block, uint s, inout Chunk c) {
  uint w[4];
  LOAD_WORDS(4, w, block)
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
  LOAD_WORDS(8, c.q, block + 16 + 32 * (s >> 1))
  const uint shift = 4 * (s & 1);
  [[unroll]] for (uint i = 0; i < 8; ++i) c.q[i] = (c.q[i] >> shift) & 0x0F0F0F0Fu;
  return c;
}

Chunk load_q5_k(uint64_t row, uint chunk) {
  const uint64_t block = row + uint64_t(chunk >> 3) * 176;
  const uint s = chunk & 7;
  Chunk c;
  k_scales(block, s, c);
  LOAD_WORDS(8, c.q, block + 48 + 32 * (s >> 1))
  uint high[8];
  LOAD_WORDS(8, high, block + 16)
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
  LOAD_WORDS_INSIDE(8, c.q, block + 64 * (s >> 2) + 32 * (j & 1))
  uint high[8];
  LOAD_WORDS_INSIDE(8, high, block + 128 + 32 * (s >> 2))
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

// Elements k to k + 3 of a row; those from `end` on are 0. k is a multiple of 4, the row's address of 2 (F32: 4).
vec4 plain4(uint64_t row, uint k, uint end) {
  if (TYPE == F32) {
    Floats p = Floats(row + uint64_t(k) * 4);
    if (k + 4 <= end) return vec4(p.at[0], p.at[1], p.at[2], p.at[3]);
    vec4 v = vec4(0);
    if (k < end) v.x = p.at[0];
    if (k + 1 < end) v.y = p.at[1];
    if (k + 2 < end) v.z = p.at[2];
    return v;
  }
  const uint64_t address = row + uint64_t(k) * 2;
  uint w[2];
  if (k + 4 <= end) {
    if (is_odd(address)) {
      Uints words = aligned_words(address);
      const uint middle = words.at[1];
      w[0] = straddling(words.at[0], middle);
      w[1] = straddling(middle, words.at[2]);
    } else {
      LOAD_WORDS(2, w, address)
    }
  } else {
    Shorts p = Shorts(address);
    w[0] = w[1] = 0;
    if (k < end) w[0] = uint(p.at[0]);
    if (k + 1 < end) w[0] |= uint(p.at[1]) << 16;
    if (k + 2 < end) w[1] = uint(p.at[2]);
  }
  if (TYPE == F16) return vec4(unpackHalf2x16(w[0]), unpackHalf2x16(w[1]));
  return vec4(uintBitsToFloat(w[0] << 16), uintBitsToFloat(w[0] & 0xFFFF0000u), uintBitsToFloat(w[1] << 16),
              uintBitsToFloat(w[1] & 0xFFFF0000u));
}
