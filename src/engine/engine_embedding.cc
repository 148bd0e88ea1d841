// Embeddings: the last hidden states of prompts, pooled.
#include "engine/engine.h"
#include "engine/engine_sequence.h"

namespace lem {

bool Engine::WantsOutput(const Sequence& sequence, int64_t position) {
  switch (sequence.request->pooling) {
    case Pooling::kMean:
      return true;
    case Pooling::kFirst:
      return position == 0;
    case Pooling::kLast:
      return position + 1 == sequence.prompt_size();
    case Pooling::kNone:
      break;
  }
  return false;
}

Result<std::shared_ptr<Route>> Engine::HiddenRoute() {
  if (hidden_route_ != nullptr) return hidden_route_;
  if (hidden_routes_ == nullptr) {
    hidden_graph_ = WithoutHead(model_.graph);
    hidden_routes_ = std::make_unique<RouteTable>(BoundGraph{&hidden_graph_, model_.bound_weights, &model_.weights},
                                                  devices_, memory_);
    hidden_routes_->SetSteps(*pool_, options_.max_step_tokens, options_.max_step_tokens);
  }
  LEM_ASSIGN_OR_RETURN(auto placed, hidden_routes_->Place(PlacementOnCpu()));
  LEM_ASSIGN_OR_RETURN(hidden_route_, hidden_routes_->Open(std::move(placed)));
  return hidden_route_;
}

// Sums run over rising positions, so that they do not depend on how the prompt was cut.
std::optional<FinishReason> Engine::HandleHiddenStates(Sequence& sequence, int64_t num_tokens, const float* states) {
  const auto width = static_cast<size_t>(hidden_graph_.vocab_size);
  sequence.pooled.resize(width);
  for (int64_t i = 0; i < num_tokens; ++i) {
    if (!WantsOutput(sequence, sequence.num_computed + i)) continue;
    for (size_t c = 0; c < width; ++c) sequence.pooled[c] += static_cast<double>(states[c]);
    states += width;
  }
  sequence.num_computed += num_tokens;
  if (sequence.num_computed < sequence.prompt_size()) return std::nullopt;
  sequence.prefill_done = Clock::now();
  const double count = sequence.request->pooling == Pooling::kMean ? static_cast<double>(sequence.prompt_size()) : 1;
  EmbeddingEvent event;
  event.values.reserve(width);
  for (const double sum : sequence.pooled) event.values.push_back(static_cast<float>(sum / count));
  sequence.sink->Emit(std::move(event));
  return FinishReason::kStop;
}

}  // namespace lem
