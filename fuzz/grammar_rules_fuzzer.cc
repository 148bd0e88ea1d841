// Bytes as GBNF and as Lark: they compile within their limits or are errors; then masks and Accept agree.
#include <cstddef>
#include <cstdint>

#include "grammar/testing/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  lem::FuzzGrammar(lem::GrammarPiece::Gbnf(text));
  lem::FuzzGrammar(lem::GrammarPiece::Lark(text));
  return 0;
}
