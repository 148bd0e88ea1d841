#include "scheduler/plan_candidate.h"

#include <algorithm>

#include "scheduler/search_candidates.h"

namespace lem {

Candidate OnOneDevice(int device, int32_t num_layers) {
  const auto d = static_cast<int16_t>(device);
  Candidate candidate;
  candidate.runs[0] = {0, num_layers, d, d};
  candidate.head = d;
  return candidate;
}

int Candidate::AttentionOf(int32_t layer) const {
  for (int16_t i = 0; i < num_runs; ++i) {
    if (layer < runs[static_cast<size_t>(i)].end) return runs[static_cast<size_t>(i)].attention;
  }
  return runs[static_cast<size_t>(num_runs - 1)].attention;
}

int Candidate::FeedForwardOf(int32_t layer) const {
  for (int16_t i = 0; i < num_runs; ++i) {
    if (layer < runs[static_cast<size_t>(i)].end) return runs[static_cast<size_t>(i)].feed_forward;
  }
  return runs[static_cast<size_t>(num_runs - 1)].feed_forward;
}

bool Candidate::operator==(const Candidate& other) const {
  if (num_runs != other.num_runs || head != other.head || rows_device != other.rows_device ||
      rows_fraction != other.rows_fraction) {
    return false;
  }
  return std::equal(
      runs.begin(), runs.begin() + num_runs, other.runs.begin(), [](const LayerRun& a, const LayerRun& b) {
        return a.begin == b.begin && a.end == b.end && a.attention == b.attention && a.feed_forward == b.feed_forward;
      });
}

std::vector<PlacementClause> ClausesOf(const Candidate& candidate, const MachineProfile& machine, int32_t num_layers,
                                       std::optional<Phase> phase) {
  using Selector = PlacementClause::Selector;
  std::vector<PlacementClause> clauses;
  const auto add = [&](Selector selector, int device) -> PlacementClause& {
    PlacementClause& clause = clauses.emplace_back();
    clause.selector = selector;
    clause.phase = phase;
    clause.device_id = machine.devices[static_cast<size_t>(device)].id;
    return clause;
  };
  const auto add_layers = [&](const LayerRun& run, int device) -> PlacementClause& {
    PlacementClause& clause = add(Selector::kLayers, device);
    clause.first_layer = run.begin;
    clause.last_layer = run.end - 1;
    return clause;
  };
  const LayerRun& first = candidate.runs[0];
  switch (candidate.family) {
    case PlanFamily::kRows:
      add(Selector::kRows, candidate.rows_device).rows_fraction = candidate.rows_fraction;
      add(Selector::kAll, first.attention);
      break;
    case PlanFamily::kParts:
      if (first.feed_forward != first.attention) add(Selector::kPart, first.feed_forward).part = Part::kFeedForward;
      if (candidate.head != first.attention) add(Selector::kPart, candidate.head).part = Part::kHead;
      add(Selector::kAll, first.attention);
      break;
    case PlanFamily::kPartialFeedForward: {
      PlacementClause& clause = add_layers(first, first.feed_forward);
      clause.only_part = true;
      clause.part = Part::kFeedForward;
      add(Selector::kAll, first.attention);
      break;
    }
    case PlanFamily::kLayers:
      if (candidate.head == first.attention) {
        add_layers({candidate.runs[1].begin, num_layers, 0, 0}, candidate.runs[1].attention);
        add(Selector::kAll, first.attention);
        break;
      }
      [[fallthrough]];
    case PlanFamily::kThreeLayers:
      // What is left for the last clause must not hold the embedding, which runs first.
      add(Selector::kPart, first.attention).part = Part::kEmbedding;
      for (int16_t i = 0; i + 1 < candidate.num_runs; ++i) {
        add_layers(candidate.runs[static_cast<size_t>(i)], candidate.runs[static_cast<size_t>(i)].attention);
      }
      add(Selector::kAll, candidate.head);
      break;
  }
  return clauses;
}

}  // namespace lem
