#include "text/tool_calls/tool_format.h"

#include <algorithm>
#include <array>
#include <utility>

namespace lem {
namespace {

constexpr std::string_view kHermesMarkers[] = {"<tool_call>", "</tool_call>"};
constexpr std::string_view kLlamaMarkers[] = {"<|python_tag|>"};
constexpr std::string_view kMistralMarkers[] = {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"};
constexpr std::string_view kDeepSeekMarkers[] = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
                                                 "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"};
constexpr std::string_view kGemmaMarkers[] = {"<tool_call>", "</tool_call>"};
constexpr std::string_view kPhiMarkers[] = {"<|tool_call|>", "<|/tool_call|>"};
constexpr std::string_view kHarmonyMarkers[] = {"<|start|>", "<|channel|>",   "<|message|>", "<|end|>",
                                                "<|call|>",  "<|constrain|>", "<|return|>"};

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kReasoningTags = {
    {{"<think>", "</think>"}, {"[THINK]", "[/THINK]"}, {"<reasoning>", "</reasoning>"}}};

ToolFamily FamilyOf(std::string_view source, const Tokenizer& tokenizer) {
  const auto has = [&](std::string_view text) { return source.find(text) != std::string_view::npos; };
  if (has("<|channel|>") && has("<|message|>")) return ToolFamily::kHarmony;
  if (has("[TOOL_CALLS]")) return has("[ARGS]") ? ToolFamily::kMistralNamed : ToolFamily::kMistral;
  if (has("<｜tool▁calls▁begin｜>") || has("<｜tool▁call▁begin｜>")) return ToolFamily::kDeepSeek;
  if (has("functools[") || has("<|/tool_call|>") || has("<|/tool|>")) return ToolFamily::kPhi;
  if (has("<tool_call>")) return ToolFamily::kHermes;
  if (has("<|python_tag|>") || has("\"parameters\": ") || has("ipython")) return ToolFamily::kLlama3;
  if (has("<start_of_turn>")) return ToolFamily::kGemma;
  if (source.empty() && tokenizer.Find("<start_of_turn>")) return ToolFamily::kGemma;
  return ToolFamily::kHermes;
}

}  // namespace

std::string_view ToolFamilyName(ToolFamily family) {
  switch (family) {
    case ToolFamily::kHermes:
      return "hermes";
    case ToolFamily::kLlama3:
      return "llama3";
    case ToolFamily::kMistral:
      return "mistral";
    case ToolFamily::kMistralNamed:
      return "mistral-named";
    case ToolFamily::kDeepSeek:
      return "deepseek";
    case ToolFamily::kGemma:
      return "gemma";
    case ToolFamily::kPhi:
      return "phi";
    case ToolFamily::kHarmony:
      return "harmony";
  }
  return "unknown";
}

std::span<const std::string_view> MarkersOf(ToolFamily family) {
  switch (family) {
    case ToolFamily::kHermes:
      return kHermesMarkers;
    case ToolFamily::kLlama3:
      return kLlamaMarkers;
    case ToolFamily::kMistral:
    case ToolFamily::kMistralNamed:
      return kMistralMarkers;
    case ToolFamily::kDeepSeek:
      return kDeepSeekMarkers;
    case ToolFamily::kGemma:
      return kGemmaMarkers;
    case ToolFamily::kPhi:
      return kPhiMarkers;
    case ToolFamily::kHarmony:
      return kHarmonyMarkers;
  }
  return {};
}

ToolFormat DetectToolFormat(const ChatTemplate& chat_template, const Tokenizer& tokenizer) {
  const std::string_view source = chat_template.is_fallback() ? std::string_view() : chat_template.source();
  ToolFormat format;
  format.family = FamilyOf(source, tokenizer);
  format.is_generic = !chat_template.tool_support().tools && format.family != ToolFamily::kHarmony;
  format.deepseek_fences = source.find("```json") != std::string_view::npos;
  format.short_call_ids = format.family == ToolFamily::kMistral || format.family == ToolFamily::kMistralNamed;
  std::vector<std::string_view> markers(MarkersOf(format.family).begin(), MarkersOf(format.family).end());
  if (format.family != ToolFamily::kHarmony) {  // which reasons in a channel
    for (const auto& [open, close] : kReasoningTags) {
      if (source.find(close) == std::string_view::npos && !tokenizer.Find(close)) continue;
      format.reasoning = {std::string(open), std::string(close)};
      markers.insert(markers.end(), {open, close});
      break;
    }
  }
  for (const std::string_view marker : markers) {
    const auto id = tokenizer.Find(marker);
    // A token of another type shows in the text by itself.
    if (id && tokenizer.type_of(*id) == TokenType::kControl && !tokenizer.IsEndOfGeneration(*id)) {
      format.visible_tokens.push_back(*id);
    }
  }
  return format;
}

}  // namespace lem
