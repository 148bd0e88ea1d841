// What a GrammarPiece holds.
#pragma once

#include <string>
#include <vector>

#include "grammar/grammar.h"

namespace lem {

struct GrammarPiece::Node {
  enum class Kind : uint8_t {
    kLiteral,
    kRegex,
    kJsonSchema,
    kJsonObject,
    kJsonAny,
    kGbnf,
    kLark,
    kChoice,
    kSequence,
    kRepeat,
    kText,
    kToken
  };
  Kind kind = Kind::kLiteral;
  std::string text;                  // literal, pattern, schema or grammar
  std::vector<std::string> without;  // kText
  std::vector<GrammarPiece> parts;   // kChoice, kSequence, kRepeat (one)
  JsonWhitespace whitespace = JsonWhitespace::kFree;
  uint32_t min = 0, max = 0;  // kRepeat
  TokenId token = 0;
};

}  // namespace lem
