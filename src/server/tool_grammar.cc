#include "server/tool_grammar.h"

#include <fmt/format.h>

#include <utility>

#include "base/json.h"

namespace lem {
namespace {

using Piece = GrammarPiece;

// Text that does not begin like a call of the families whose calls have no marker: {"name"
constexpr const char* kNoBareCall = R"(([^{\s]|\{([^"\s]|"([^n]|n([^a]|a([^m]|m([^e]|e[^"]))))))[\s\S]*)";

Piece Literal(std::string_view text) { return Piece::Literal(text); }

// {"name": "f", "arguments": {...}}
Piece ObjectCall(const CallableTool& tool, std::string_view arguments_key) {
  return Piece::Sequence({Literal(fmt::format(R"({{"name": {}, "{}": )", JsonQuote(tool.name), arguments_key)),
                          tool.arguments, Literal("}")});
}

template <typename MakeCall>
Piece AnyOf(const std::vector<CallableTool>& tools, const MakeCall& make_call) {
  std::vector<Piece> calls;
  calls.reserve(tools.size());
  for (const CallableTool& tool : tools) calls.push_back(make_call(tool));
  return calls.size() == 1 ? calls.front() : Piece::Choice(std::move(calls));
}

Piece Several(const Piece& call, std::string_view separator, uint32_t max_calls) {
  if (max_calls <= 1) return call;
  const Piece next = separator.empty() ? call : Piece::Sequence({Literal(separator), call});
  return Piece::Sequence({call, Piece::Repeat(next, 0, max_calls - 1)});
}

ToolFamily WrittenFamily(const ToolFormat& format) { return format.is_generic ? ToolFamily::kHermes : format.family; }

// What begins a call in the middle of text; empty: nothing does, a call is a whole answer.
std::string_view TriggerOf(const ToolFormat& format) {
  switch (WrittenFamily(format)) {
    case ToolFamily::kHermes:
      return "<tool_call>";
    case ToolFamily::kMistral:
    case ToolFamily::kMistralNamed:
      return "[TOOL_CALLS]";
    case ToolFamily::kDeepSeek:
      return "<｜tool▁calls▁begin｜>";
    case ToolFamily::kPhi:
      return "<|tool_call|>";
    case ToolFamily::kLlama3:
    case ToolFamily::kGemma:
    case ToolFamily::kHarmony:
      return "";
  }
  return "";
}

}  // namespace

GrammarPiece MarkerPiece(const Tokenizer& tokenizer, std::string_view text) {
  const auto id = tokenizer.Find(text);
  return id && tokenizer.type_of(*id) == TokenType::kControl ? Piece::Token(*id) : Literal(text);
}

GrammarPiece AfterReasoning(const ToolFormat& format, const Tokenizer& tokenizer, bool starts_in_reasoning,
                            GrammarPiece answer) {
  const auto marker = [&](std::string_view text) { return MarkerPiece(tokenizer, text); };
  const Piece space = Piece::Regex("[ \\n]{0,4}");
  if (format.family == ToolFamily::kHarmony) {
    const Piece analysis =
        Piece::Sequence({marker("<|channel|>"), Literal("analysis"), marker("<|message|>"), Piece::Text({"<|"}),
                         marker("<|end|>"), marker("<|start|>"), Literal("assistant")});
    return Piece::Sequence({Piece::Repeat(analysis, 0, 4), std::move(answer)});
  }
  if (format.reasoning.close.empty()) return answer;
  const Piece rest = Piece::Sequence({Piece::Text({format.reasoning.close}), marker(format.reasoning.close), space});
  if (starts_in_reasoning) return Piece::Sequence({rest, std::move(answer)});
  return Piece::Sequence(
      {Piece::Optional(Piece::Sequence({space, marker(format.reasoning.open), rest})), std::move(answer)});
}

GrammarPiece CallsPiece(const ToolFormat& format, const Tokenizer& tokenizer, const std::vector<CallableTool>& tools,
                        uint32_t max_calls) {
  const auto marker = [&](std::string_view text) { return MarkerPiece(tokenizer, text); };
  Piece with_arguments = AnyOf(tools, [](const CallableTool& tool) { return ObjectCall(tool, "arguments"); });
  switch (WrittenFamily(format)) {
    case ToolFamily::kHermes: {
      const Piece call = Piece::Sequence(
          {marker("<tool_call>"), Literal("\n"), with_arguments, Literal("\n"), marker("</tool_call>")});
      return Several(call, "\n", max_calls);
    }
    case ToolFamily::kLlama3:
    case ToolFamily::kGemma:
      return Several(AnyOf(tools, [](const CallableTool& tool) { return ObjectCall(tool, "parameters"); }), "; ",
                     max_calls);
    case ToolFamily::kMistral:
      return Piece::Sequence(
          {marker("[TOOL_CALLS]"), Literal("["), Several(with_arguments, ", ", max_calls), Literal("]")});
    case ToolFamily::kMistralNamed:
      return Several(AnyOf(tools,
                           [&](const CallableTool& tool) {
                             return Piece::Sequence(
                                 {marker("[TOOL_CALLS]"), Literal(tool.name), marker("[ARGS]"), tool.arguments});
                           }),
                     "", max_calls);
    case ToolFamily::kDeepSeek: {
      const Piece call = AnyOf(tools, [&](const CallableTool& tool) {
        const bool fences = format.deepseek_fences;
        return Piece::Sequence({marker("<｜tool▁call▁begin｜>"), Literal(fences ? "function" : tool.name),
                                marker("<｜tool▁sep｜>"), Literal(fences ? tool.name + "\n```json\n" : ""),
                                tool.arguments, Literal(fences ? "\n```" : ""), marker("<｜tool▁call▁end｜>")});
      });
      return Piece::Sequence({marker("<｜tool▁calls▁begin｜>"),
                              Several(call, format.deepseek_fences ? "\n" : "", max_calls),
                              marker("<｜tool▁calls▁end｜>")});
    }
    case ToolFamily::kPhi:
      return Piece::Sequence({marker("<|tool_call|>"), Literal("["), Several(with_arguments, ", ", max_calls),
                              Literal("]"), marker("<|/tool_call|>")});
    case ToolFamily::kHarmony:
      // One a message; <|call|> ends the answer.
      return AnyOf(tools, [&](const CallableTool& tool) {
        return Piece::Sequence({marker("<|channel|>"), Literal("commentary to=functions." + tool.name + " "),
                                marker("<|constrain|>"), Literal("json"), marker("<|message|>"), tool.arguments});
      });
  }
  return with_arguments;
}

GrammarPiece AnswerPiece(const ToolFormat& format, const Tokenizer& tokenizer, GrammarPiece answer) {
  if (format.family != ToolFamily::kHarmony) return answer;
  return Piece::Sequence({MarkerPiece(tokenizer, "<|channel|>"), Literal("final"),
                          MarkerPiece(tokenizer, "<|message|>"), std::move(answer)});
}

GrammarPiece FreeOrCallsPiece(const ToolFormat& format, const Tokenizer& tokenizer, GrammarPiece calls,
                              std::optional<GrammarPiece> form) {
  if (form) return Piece::Choice({AnswerPiece(format, tokenizer, *std::move(form)), std::move(calls)});
  if (format.family == ToolFamily::kHarmony) {
    return Piece::Choice({AnswerPiece(format, tokenizer, Piece::Text({"<|"})), std::move(calls)});
  }
  const std::string trigger(TriggerOf(format));
  if (trigger.empty()) return Piece::Choice({Piece::Regex(kNoBareCall), std::move(calls)});
  return Piece::Sequence({Piece::Text({trigger}), Piece::Optional(std::move(calls))});
}

}  // namespace lem
