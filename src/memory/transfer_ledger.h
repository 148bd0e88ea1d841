// Counts the bytes that the process moves between memories, by device, direction and cause. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace lem {

enum class TransferCause : uint8_t {
  kWeights,      // weights on their way to where they are used
  kKvCache,      // keys and values that another device computed
  kActivations,  // values between two segments, and logits
  kStepInputs,   // token ids, positions, block tables of a step
};
inline constexpr size_t kNumTransferCauses = 4;

enum class TransferDirection : uint8_t { kToDevice, kToHost };

std::string_view TransferCauseName(TransferCause cause);

struct TransferCount {
  std::string device_id;
  TransferDirection direction = TransferDirection::kToDevice;
  TransferCause cause = TransferCause::kWeights;
  uint64_t bytes = 0;
};

class TransferLedger {
 public:
  // The account of one device; lives as long as the ledger.
  class Account {
   public:
    void Add(TransferDirection direction, TransferCause cause, uint64_t bytes) {
      counts_[Index(direction, cause)].fetch_add(bytes, std::memory_order_relaxed);
    }
    uint64_t bytes(TransferDirection direction, TransferCause cause) const {
      return counts_[Index(direction, cause)].load(std::memory_order_relaxed);
    }
    // Both directions.
    uint64_t bytes(TransferCause cause) const {
      return bytes(TransferDirection::kToDevice, cause) + bytes(TransferDirection::kToHost, cause);
    }

   private:
    static size_t Index(TransferDirection direction, TransferCause cause) {
      return static_cast<size_t>(direction) * kNumTransferCauses + static_cast<size_t>(cause);
    }
    std::array<std::atomic<uint64_t>, 2 * kNumTransferCauses> counts_{};
  };

  Account& AccountOf(std::string_view device_id);
  // Every count, zeros too, device by device in order of first use.
  std::vector<TransferCount> Counts() const;

 private:
  struct Entry {
    std::string device_id;
    Account account;
  };
  mutable std::mutex mutex_;                     // guards the list; accounts need none
  std::vector<std::unique_ptr<Entry>> entries_;  // entries never move
};

}  // namespace lem
