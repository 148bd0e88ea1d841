#include "grammar/languages.h"
namespace lem {
Result<ExprId> CompileGbnf(GrammarBuilder&, std::string_view) { return Unimplemented("GBNF"); }
Result<ExprId> CompileLark(GrammarBuilder&, std::string_view) { return Unimplemented("Lark"); }
}  // namespace lem
