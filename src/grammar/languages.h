// The languages that grammars are written in, each compiled into a builder. Errors: InvalidArgument with the place.
#pragma once

#include <string_view>

#include "base/status.h"
#include "grammar/builder.h"

namespace lem {

enum class RegexMatch : uint8_t { kWhole, kSearch };

// `pattern` as bytes of `coder`. kSearch: any text around a match, as `pattern` of JSON Schema has it.
Result<ExprId> CompileRegex(GrammarBuilder& builder, CodePointCoder& coder, std::string_view pattern, RegexMatch match);
Result<ExprId> CompileJsonSchema(GrammarBuilder& builder, std::string_view schema, JsonWhitespace whitespace);
Result<ExprId> CompileGbnf(GrammarBuilder& builder, std::string_view grammar);
Result<ExprId> CompileLark(GrammarBuilder& builder, std::string_view grammar);

}  // namespace lem
