#include "executor/testing/placed_session.h"

#include <cstring>
#include <numeric>

#include "base/check.h"
#include "device/testing/tiny_graph.h"
#include "kernels/kernels.h"

namespace lem {

Result<std::unique_ptr<PlacedSession>> PlacedSession::Create(const PlacedModel& model, MemoryManager& memory,
                                                             int64_t max_tokens, int64_t max_context) {
  std::unique_ptr<PlacedSession> session(new PlacedSession(model, max_tokens));
  const KvBlockLayout layout = MakeKvBlockLayout(model.graph().kv);
  const int64_t num_blocks = max_context / kKvBlockTokens + 1;
  LEM_ASSIGN_OR_RETURN(session->kv_, KvBlockPool::Create(memory, layout.block_bytes, num_blocks));
  // Memory that was used before holds anything: NaNs must not leak into results.
  std::memset(session->kv_->base(), 0xff, layout.block_bytes * static_cast<size_t>(num_blocks));
  for (Device* device : model.devices()) {
    if (device->memory() != nullptr) LEM_TRY(session->kv_->MapTo(*device->memory()));
  }
  session->residency_ = std::make_unique<KvResidency>(*session->kv_, model.graph().kv.num_layers, layout.layer_bytes,
                                                      model.space_memory());
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    LEM_ASSIGN_OR_RETURN(session->executors_[static_cast<size_t>(phase)],
                         Executor::Create(model, {max_tokens, max_tokens, phase}, memory));
  }
  for (int64_t i = 0; i < num_blocks; ++i) session->blocks_.push_back(*session->kv_->Allocate());
  return session;
}

void PlacedSession::Reset() {
  for (const BlockId block : blocks_) residency_->Forget(block);
  position_ = 0;
  logits_.clear();
}

Status PlacedSession::Step(std::span<const int32_t> tokens, Phase phase) {
  std::vector<int32_t> outputs(tokens.size());
  std::iota(outputs.begin(), outputs.end(), 0);
  const SequenceRows rows[] = {{0, static_cast<int64_t>(tokens.size()), position_, blocks_}};
  const Bindings bindings{tokens, rows, outputs, kv_->base(), kv_->block_bytes(), {}};
  Executor& executor = *executors_[static_cast<size_t>(phase)];
  LEM_TRY(executor.Run(bindings, residency_.get()));
  position_ += static_cast<int64_t>(tokens.size());
  const float* logits = executor.logits();
  logits_.insert(logits_.end(), logits, logits + tokens.size() * static_cast<size_t>(model_.graph().vocab_size));
  return OkStatus();
}

Status PlacedSession::Run(std::span<const int32_t> tokens, Phase phase) {
  for (size_t begin = 0; begin < tokens.size(); begin += static_cast<size_t>(max_tokens_)) {
    LEM_TRY(Step(tokens.subspan(begin, std::min(tokens.size() - begin, static_cast<size_t>(max_tokens_))), phase));
  }
  return OkStatus();
}

std::vector<float> RunTinyTokens(const PlacedModel& model, MemoryManager& memory) {
  const auto session = std::move(*PlacedSession::Create(model, memory, 40, 80));
  const std::vector<int32_t> tokens = TinyTokens(75);
  const std::span<const int32_t> all(tokens);
  LEM_CHECK(session->Step(all.first(40), Phase::kPrefill).ok());
  LEM_CHECK(session->Step(all.subspan(40, 30), Phase::kPrefill).ok());
  for (size_t i = 70; i < 75; ++i) LEM_CHECK(session->Step(all.subspan(i, 1), Phase::kDecode).ok());
  return session->logits();
}

uint64_t PredictTinyTokensBytes(const PlacedModel& model) {
  uint64_t bytes = 5 * PredictActivationBytes(model.graph(), model.plan(Phase::kDecode), 1, 1);
  for (const int64_t tokens : {40, 30}) {
    bytes += PredictActivationBytes(model.graph(), model.plan(Phase::kPrefill), tokens, tokens);
  }
  return bytes;
}

}  // namespace lem
