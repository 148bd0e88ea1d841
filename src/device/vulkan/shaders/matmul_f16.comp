// Tiled linear with both factors rounded to float16; sums in float32.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define TILE_FLOAT float16_t
#define TILE_VEC4 f16vec4
#include "matmul.glsl"
