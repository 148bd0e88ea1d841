#include "graph/placement.h"

#include <algorithm>
#include <charconv>
#include <ranges>

namespace lem {
namespace {

const std::string kCpu = "cpu";
constexpr int32_t kMaxLayer = 1 << 20;
constexpr std::string_view kForms =
    "a clause is [prefill|decode] [all|rest|layers A-B|attention|ffn|embedding|head|rows F] DEVICE (layers A-B may be "
    "followed by attention or ffn), for example "
    "\"layers 0-14 vulkan:0; rest cpu\"";

struct PartName {
  std::string_view name;
  Part part;
};
constexpr PartName kPartNames[] = {{"attention", Part::kAttention},
                                   {"ffn", Part::kFeedForward},
                                   {"embedding", Part::kEmbedding},
                                   {"head", Part::kHead}};

const PartName* FindPart(std::string_view name) {
  const auto* const found = std::ranges::find(kPartNames, name, &PartName::name);
  return found == std::end(kPartNames) ? nullptr : found;
}

std::string_view NameOfPart(Part part) { return std::ranges::find(kPartNames, part, &PartName::part)->name; }

std::vector<std::string_view> SplitWords(std::string_view text) {
  std::vector<std::string_view> words;
  constexpr std::string_view kSpace = " \t\r\n";
  for (size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kSpace, end);
  }
  return words;
}

template <typename T>
bool ParseNumber(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

bool IsDeviceId(std::string_view text) {
  constexpr size_t kMaxDeviceId = 64;
  return !text.empty() && text.size() <= kMaxDeviceId && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ':' || c == '-' || c == '_';
  });
}

// Reads the selector at `words`, and takes its words away.
Status ParseSelector(std::string_view clause_text, std::span<const std::string_view>& words, PlacementClause& clause) {
  const std::string_view name = words[0];
  words = words.subspan(1);
  if (name == "all" || name == "rest") return OkStatus();
  if (const PartName* const known = FindPart(name)) {
    clause.selector = PlacementClause::Selector::kPart;
    clause.part = known->part;
    return OkStatus();
  }
  if (name != "layers" && name != "rows") {
    return InvalidArgument("placement \"{}\": '{}' is no part of a model; {}", clause_text, name, kForms);
  }
  if (words.empty()) return InvalidArgument("placement \"{}\" ends after '{}'; {}", clause_text, name, kForms);
  const std::string_view value = words[0];
  words = words.subspan(1);
  if (name == "layers") {
    clause.selector = PlacementClause::Selector::kLayers;
    const size_t dash = value.find('-');
    const std::string_view first = value.substr(0, dash);
    const std::string_view last = dash == std::string_view::npos ? first : value.substr(dash + 1);
    if (!ParseNumber(first, clause.first_layer) || !ParseNumber(last, clause.last_layer) || clause.first_layer < 0 ||
        clause.last_layer < clause.first_layer || clause.last_layer > kMaxLayer) {
      return InvalidArgument("placement \"{}\": layers are '{}'; give the first and the last, such as 0-14",
                             clause_text, value);
    }
    const PartName* const part = words.size() > 1 ? FindPart(words[0]) : nullptr;
    if (part != nullptr) {
      clause.only_part = true;
      clause.part = part->part;
      words = words.subspan(1);
    }
    return OkStatus();
  }
  clause.selector = PlacementClause::Selector::kRows;
  if (!ParseNumber(value, clause.rows_fraction) || !(clause.rows_fraction > 0 && clause.rows_fraction < 1)) {
    return InvalidArgument(
        "placement \"{}\": the share of rows is '{}'; allowed: a number between 0 and 1, such as 0.5", clause_text,
        value);
  }
  return OkStatus();
}

Result<PlacementClause> ParseClause(std::string_view text) {
  const std::vector<std::string_view> all = SplitWords(text);
  std::span<const std::string_view> words = all;
  PlacementClause clause;
  if (words.size() > 1 && (words[0] == "prefill" || words[0] == "decode")) {
    clause.phase = words[0] == "prefill" ? Phase::kPrefill : Phase::kDecode;
    words = words.subspan(1);
  }
  if (words.size() > 1) {
    LEM_TRY(ParseSelector(text, words, clause));
  }
  if (words.size() != 1) {
    return InvalidArgument("placement \"{}\" has {}; {}", text,
                           words.empty() ? "no device" : fmt::format("too many words: '{}'", words[1]), kForms);
  }
  if (!IsDeviceId(words[0])) {
    return InvalidArgument("placement \"{}\": '{}' is no device; `lem doctor` lists those of this machine", text,
                           words[0]);
  }
  clause.device_id = words[0];
  return clause;
}

}  // namespace

bool PlacementClause::Covers(const Op& op, Phase op_phase) const {
  if (phase && *phase != op_phase) return false;
  switch (selector) {
    case Selector::kAll:
      return true;
    case Selector::kLayers:
      return op.layer != kNone && op.layer >= first_layer && op.layer <= last_layer && (!only_part || op.part == part);
    case Selector::kPart:
      return op.part == part;
    case Selector::kRows:
      return false;
  }
  return false;
}

size_t Placement::ClauseOf(const Op& op, Phase phase) const {
  const auto found = std::ranges::find_if(clauses, [&](const auto& clause) { return clause.Covers(op, phase); });
  return static_cast<size_t>(found - clauses.begin());
}

const std::string& Placement::DeviceOf(size_t clause_idx) const {
  return clause_idx == clauses.size() ? kCpu : clauses[clause_idx].device_id;
}

const PlacementClause* Placement::Rows() const {
  const auto found = std::ranges::find(clauses, PlacementClause::Selector::kRows, &PlacementClause::selector);
  return found == clauses.end() ? nullptr : &*found;
}

std::vector<std::string> Placement::DeviceIds() const {
  std::vector<std::string> ids;
  bool covers_all = false;
  for (const PlacementClause& clause : clauses) {
    if (std::ranges::find(ids, clause.device_id) == ids.end()) ids.push_back(clause.device_id);
    covers_all |= clause.selector == PlacementClause::Selector::kAll && !clause.phase;
  }
  if (!covers_all && std::ranges::find(ids, kCpu) == ids.end()) ids.push_back(kCpu);
  return ids;
}

Placement Placement::Without(std::string_view lost, const std::string& heir) const {
  Placement changed = *this;
  for (PlacementClause& clause : changed.clauses) {
    if (clause.device_id == lost) clause.device_id = heir;
  }
  return changed;
}

Result<Placement> ParsePlacement(std::string_view text) {
  constexpr size_t kMaxClauses = 256;
  Placement placement;
  for (const auto part : std::views::split(text, ';')) {
    const std::string_view clause_text(part.begin(), part.end());
    const std::vector<std::string_view> words = SplitWords(clause_text);
    if (words.empty()) continue;
    if (words.size() == 1 && words[0] == "handover") {
      placement.handover = true;
      continue;
    }
    if (placement.clauses.size() == kMaxClauses) {
      return InvalidArgument("a placement has at most {} clauses", kMaxClauses);
    }
    LEM_ASSIGN_OR_RETURN(PlacementClause clause, ParseClause(clause_text));
    if (clause.selector == PlacementClause::Selector::kRows && placement.Rows() != nullptr) {
      return InvalidArgument("placement \"{}\": rows can be cut once", text);
    }
    placement.clauses.push_back(std::move(clause));
  }
  if (placement.clauses.empty()) return InvalidArgument("the placement is empty; {}", kForms);
  return placement;
}

std::string FormatPlacement(const Placement& placement) {
  std::string text;
  for (const PlacementClause& clause : placement.clauses) {
    if (!text.empty()) text += "; ";
    if (clause.phase) text += *clause.phase == Phase::kPrefill ? "prefill " : "decode ";
    switch (clause.selector) {
      case PlacementClause::Selector::kAll:
        text += "all ";
        break;
      case PlacementClause::Selector::kLayers:
        text += fmt::format("layers {}-{} ", clause.first_layer, clause.last_layer);
        if (clause.only_part) text += fmt::format("{} ", NameOfPart(clause.part));
        break;
      case PlacementClause::Selector::kPart:
        text += fmt::format("{} ", NameOfPart(clause.part));
        break;
      case PlacementClause::Selector::kRows:
        text += fmt::format("rows {} ", clause.rows_fraction);
        break;
    }
    text += clause.device_id;
  }
  if (placement.handover) text += "; handover";
  return text;
}

}  // namespace lem
