// The paged cache: blocks of 16 tokens; keys float16 [kv_heads, head_dim, 16], values float16 [kv_heads, 16, head_dim].
const uint KV_BLOCK_TOKENS = 16;

// float16 bits of a float32, to nearest even, overflow to infinity; as FloatToHalf in tensor/half.h (the rounding of
// packHalf2x16 is the driver's choice).
uint float_to_half(float value) {
  const uint bits = floatBitsToUint(value);
  const uint sign_bit = (bits >> 16) & 0x8000u;
  const uint magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return sign_bit | 0x7E00u | ((magnitude >> 13) & 0x3FFu);
  if (magnitude >= 0x477FF000u) return sign_bit | 0x7C00u;
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24; adding 0.5 makes the adder round to one
    return sign_bit | (floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3F000000u);
  }
  return sign_bit | ((magnitude - (112u << 23) + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13);
}
