// Bytes as a JSON Schema: it compiles within its limits or is an error; then masks and Accept agree.
#include <cstddef>
#include <cstdint>

#include "grammar/testing/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lem::FuzzGrammar(lem::GrammarPiece::JsonSchema({reinterpret_cast<const char*>(data), size}));
  return 0;
}
