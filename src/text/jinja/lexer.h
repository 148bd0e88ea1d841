// Cuts template source into tokens, with Jinja's rules for white space as Hugging Face sets them: trim_blocks and
// lstrip_blocks on, one newline at the end of the source dropped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lem::jinja {

enum class TokenKind : uint8_t {
  kData,           // text between tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,    // text = value after escapes
  kInteger,   // text = digits as written, without underscores
  kFloat,     // likewise
  kOperator,  // text = the operator
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;

  bool Is(TokenKind wanted, std::string_view wanted_text) const { return kind == wanted && text == wanted_text; }
};

// Errors: InvalidArgument with the line. The last token is kEnd.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace lem::jinja
