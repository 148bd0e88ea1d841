// Tiled linear with float32 tiles.
#version 460
#extension GL_GOOGLE_include_directive : require
#define TILE_FLOAT float
#define TILE_VEC4 vec4
#include "matmul.glsl"
