// Calls of tools as grammar, in the form of each model family. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "text/tool_calls/tool_format.h"

namespace lem {

struct CallableTool {
  std::string name;
  GrammarPiece arguments;
};

// A text that may be a control token of the model.
GrammarPiece MarkerPiece(const Tokenizer& tokenizer, std::string_view text);

// Optional reasoning, or the rest of it, before what the grammar is about.
GrammarPiece AfterReasoning(const ToolFormat& format, const Tokenizer& tokenizer, bool starts_in_reasoning,
                            GrammarPiece answer);

// One call, or up to max_calls of them.
GrammarPiece CallsPiece(const ToolFormat& format, const Tokenizer& tokenizer, const std::vector<CallableTool>& tools,
                        uint32_t max_calls);

// Text, or `form` if there is one, or text that ends in calls.
GrammarPiece FreeOrCallsPiece(const ToolFormat& format, const Tokenizer& tokenizer, GrammarPiece calls,
                              std::optional<GrammarPiece> form);

// An answer that is not a call, in the family's frame (Harmony's final channel).
GrammarPiece AnswerPiece(const ToolFormat& format, const Tokenizer& tokenizer, GrammarPiece answer);

}  // namespace lem
