// Files that are built into the program: the assembler puts them into read-only data between two labels. The build must
// name them as dependencies of the .cc file that embeds them (OBJECT_DEPENDS).
#pragma once

// LEM_EMBED_FILE(kRope, uint32_t, FOLDER "/rope.spv"), outside any namespace, declares the arrays kRope[] and
// kRopeEnd[]: the file's elements, aligned for up to 8 bytes each. Names are the whole program's.
#define LEM_EMBED_FILE(symbol, type, path)                     \
  asm(".section .rodata\n"                                     \
      ".balign 8\n"                                            \
      "lem_embedded_" #symbol                                  \
      ":\n"                                                    \
      ".incbin \"" path                                        \
      "\"\n"                                                   \
      "lem_embedded_end_" #symbol                              \
      ":\n"                                                    \
      ".previous\n");                                          \
  extern "C" const type symbol[] asm("lem_embedded_" #symbol); \
  extern "C" const type symbol##End[] asm("lem_embedded_end_" #symbol);
