// Which device runs which part of a model, as a person writes it down.
//
//   placement = clause *( ";" clause ) [ ";" "handover" ]
//   clause    = [ "prefill" | "decode" ] [ selector ] device
//   selector  = "all" | "rest" | part | "layers" FIRST "-" LAST [ part ] | "rows" FRACTION
//   part      = "attention" | "ffn" | "embedding" | "head"
//
// An op goes to the first clause that covers it, and to "cpu" if none does. Each clause is a cut: neighbours that two
// clauses give to one device are two segments. "rows" gives that fraction of the rows of
// every matrix of the layers and the head to the device; the clauses after it say who has the other rows. With a phase,
// the other phase's devices have whole matrices. "handover": an answer that was begun on the CPU because a device was
// still compiling moves to it, although its numerics differ.
// Examples: "all cpu"; "prefill vulkan:0; decode cpu"; "layers 0-14 vulkan:0; rest cpu"; "rows 0.5 vulkan:0; rest cpu";
// "layers 0-9 ffn cpu; rest vulkan:0".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "graph/plan.h"

namespace lem {

struct PlacementClause {
  enum class Selector : uint8_t { kAll, kLayers, kPart, kRows };

  Selector selector = Selector::kAll;
  std::optional<Phase> phase;  // null = both
  int32_t first_layer = 0, last_layer = 0;
  Part part = Part::kEmbedding;  // of kPart, and of kLayers with only_part
  bool only_part = false;        // kLayers: this part of them alone
  double rows_fraction = 0;      // in (0, 1)
  std::string device_id;

  // False for kRows, which covers no op as a whole.
  bool Covers(const Op& op, Phase op_phase) const;
};

struct Placement {
  std::vector<PlacementClause> clauses;
  bool handover = false;

  // The clause that covers an op; clauses.size() if none does.
  size_t ClauseOf(const Op& op, Phase phase) const;
  const std::string& DeviceOf(const Op& op, Phase phase) const { return DeviceOf(ClauseOf(op, phase)); }
  const std::string& DeviceOf(size_t clause_idx) const;
  const PlacementClause* Rows() const;  // null if there is none
  // Every device that is named, and "cpu" if an op may fall through to it.
  std::vector<std::string> DeviceIds() const;
  // The same with every part of `lost` on `heir`.
  Placement Without(std::string_view lost, const std::string& heir) const;
};

inline Placement PlacementOnCpu() { return {.clauses = {{.device_id = "cpu"}}}; }

// Errors: InvalidArgument naming the clause, what was found and what is allowed.
Result<Placement> ParsePlacement(std::string_view text);

// The text that ParsePlacement reads as this placement.
std::string FormatPlacement(const Placement& placement);

}  // namespace lem
