#include "grammar/languages.h"
namespace lem {
Result<ExprId> CompileRegex(GrammarBuilder&, CodePointCoder&, std::string_view, RegexMatch) {
  return Unimplemented("regex");
}
Result<ExprId> CompileJsonSchema(GrammarBuilder&, std::string_view, JsonWhitespace) {
  return Unimplemented("JSON schema");
}
Result<ExprId> CompileGbnf(GrammarBuilder&, std::string_view) { return Unimplemented("GBNF"); }
Result<ExprId> CompileLark(GrammarBuilder&, std::string_view) { return Unimplemented("Lark"); }
}  // namespace lem
