"""Writes quants.json: blocks of every weight type with their values as the `gguf` Python package computes them.

Run: python make_quants.py (needs gguf and numpy). dequantize: random bytes, scales of every finite kind, little-endian
hex. quantize: float32 rows and the bytes that the package makes of them.
"""
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

rng = np.random.default_rng(20261122)

# Offsets of the float16 scales in a block.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def random_blocks(qtype, num_blocks):
    _, block_bytes = gguf.GGML_QUANT_SIZES[qtype]
    blocks = rng.integers(0, 256, (num_blocks, block_bytes), dtype=np.uint8)
    for offset in SCALES[qtype]:
        bits = blocks[:, offset:offset + 2].view(np.uint16)
        bits[(bits & 0x7C00) == 0x7C00] ^= 0x4000  # finite
        bits[0] = 0x8000 | rng.integers(1, 0x400)  # a negative subnormal
    return blocks


def f32_hex(values):
    return np.ascontiguousarray(values, dtype="<f4").tobytes().hex()


out = {"dequantize": [], "quantize": []}
for qtype in SCALES:
    blocks = random_blocks(qtype, 3)
    values = dequantize(blocks.reshape(1, -1), qtype)
    out["dequantize"].append({"type": qtype.name, "bytes": blocks.tobytes().hex(), "values": f32_hex(values)})
for qtype in (T.F16, T.BF16):
    bits = rng.integers(0, 1 << 16, 64, dtype=np.uint16)
    exponent = 0x7C00 if qtype == T.F16 else 0x7F80
    bits[(bits & exponent) == exponent] ^= 0x4000
    values = bits.view(np.float16).astype(np.float32) if qtype == T.F16 else dequantize(bits.view(np.uint8), qtype)
    out["dequantize"].append({"type": qtype.name, "bytes": bits.tobytes().hex(), "values": f32_hex(values)})

rows = np.concatenate([rng.standard_normal(64), rng.standard_normal(32) * 1e-3, rng.standard_normal(32) * 1e3,
                       np.zeros(32), np.full(32, 0.3), -np.abs(rng.standard_normal(64))]).astype(np.float32)
for qtype in (T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0):
    row_bytes = quantize(rows, qtype).tobytes()
    out["quantize"].append({"type": qtype.name, "values": f32_hex(rows), "bytes": row_bytes.hex()})

pathlib.Path(__file__).with_name("quants.json").write_text(json.dumps(out, indent=1) + "\n")
