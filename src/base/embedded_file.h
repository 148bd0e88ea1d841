// Files that are built into the program: the assembler puts them into read-only data between two labels. The build must
// name them as dependencies of the .cc file that embeds them (OBJECT_DEPENDS).
#pragma once

// LEM_EMBED_FILE(lem_spirv_rope, uint32_t, FOLDER "/rope.spv"), outside any namespace, declares the arrays
// lem_spirv_rope[] and lem_spirv_rope_end[]: the file's elements, aligned for up to 8 bytes each.
#define LEM_EMBED_FILE(symbol, type, path)     \
  asm(".section .rodata\n"                     \
      ".balign 8\n" #symbol                    \
      ":\n"                                    \
      ".incbin \"" path "\"\n" #symbol         \
      "_end:\n"                                \
      ".previous\n");                          \
  extern "C" const type symbol[] asm(#symbol); \
  extern "C" const type symbol##_end[] asm(#symbol "_end");
