#include "memory/transfer_ledger.h"

namespace lem {

std::string_view TransferCauseName(TransferCause cause) {
  switch (cause) {
    case TransferCause::kWeights:
      return "weights";
    case TransferCause::kKvCache:
      return "kv_cache";
    case TransferCause::kActivations:
      return "activations";
    case TransferCause::kStepInputs:
      return "step_inputs";
  }
  return "unknown";
}

TransferLedger::Account& TransferLedger::AccountOf(std::string_view device_id) {
  const std::lock_guard lock(mutex_);
  for (const auto& entry : entries_) {
    if (entry->device_id == device_id) return entry->account;
  }
  entries_.push_back(std::make_unique<Entry>());
  entries_.back()->device_id = device_id;
  return entries_.back()->account;
}

std::vector<TransferCount> TransferLedger::Counts() const {
  const std::lock_guard lock(mutex_);
  std::vector<TransferCount> counts;
  for (const auto& entry : entries_) {
    for (const TransferDirection direction : {TransferDirection::kToDevice, TransferDirection::kToHost}) {
      for (size_t c = 0; c < kNumTransferCauses; ++c) {
        const auto cause = static_cast<TransferCause>(c);
        counts.push_back({entry->device_id, direction, cause, entry->account.bytes(direction, cause)});
      }
    }
  }
  return counts;
}

}  // namespace lem
