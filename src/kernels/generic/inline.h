// Forced inlining for the small functions of the kernels: a call would spill the register tile.
#pragma once

#define LEM_INLINE inline __attribute__((always_inline))
#define LEM_NOINLINE __attribute__((noinline))
#define LEM_INLINE_LAMBDA __attribute__((always_inline))
