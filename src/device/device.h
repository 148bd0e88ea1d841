// The interface that every processor stands behind.
//
// A device compiles a segment of a graph for a shape bucket once and then runs it many times. Submit never blocks on
// the work itself where the device has a queue of its own; the CPU device runs in the caller's thread and returns a
// finished event, so that going through this interface costs it nothing. Errors of the device (loss, out of memory)
// come back as the event's status and never abort the process; a device that is lost says so in health() from then on.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "graph/plan.h"
#include "memory/memory_manager.h"
#include "memory/weight_table.h"
#include "tensor/dtype.h"

namespace lem {

enum class DeviceKind : uint8_t { kCpu, kGpu, kNpu };

struct DeviceCaps {
  std::string id;  // "cpu", "vulkan:0"
  DeviceKind kind = DeviceKind::kCpu;
  std::string name;  // of the product
  std::string driver;
  bool emulated = false;
  // Of the executables it compiles for each phase (ARCHITECTURE.md). Where both are equal, rows of prompts and of
  // answers may share a step.
  std::string prefill_numerics, decode_numerics;
  std::vector<Layout> weight_layouts;  // that it reads
  // Largest tokens of a step for which it wants an executable of its own, rising; empty = one for every size.
  std::vector<int64_t> token_buckets;
  // Compile takes seconds and may be called from any thread: requests start elsewhere meanwhile.
  bool compiles_slowly = false;
  // The bits of a row depend on how steps are cut and on batch mates: no answers that can be repeated.
  bool bits_depend_on_step = false;
};

std::string_view DeviceKindName(DeviceKind kind);  // "cpu", "gpu", "npu"

// What a device has done since it was opened.
struct DeviceTelemetry {
  uint64_t submissions = 0;
  double busy_seconds = 0;    // as the device's own clock says; 0 = it does not say
  double energy_joules = 0;   // by its own counter or model; 0 = it does not say
  uint64_t memory_bytes = 0;  // allocated or imported now
};

// The completion of a submission: wait for it, then read its status. Copies share one completion.
class DeviceEvent {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual Status Wait() = 0;
  };

  static DeviceEvent Finished(Status status);
  explicit DeviceEvent(std::shared_ptr<State> state) : state_(std::move(state)) {}

  // Blocks until the work is done; may be called again.
  Status Wait() const { return state_ ? state_->Wait() : status_; }
  // For the device that made the event; null if it was finished from the start.
  const State* state() const { return state_.get(); }

 private:
  explicit DeviceEvent(Status status) : status_(std::move(status)) {}
  std::shared_ptr<State> state_;
  Status status_;
};

// A model as a device compiles it: the graph and, for each weight slot, the handle bound to it.
struct BoundGraph {
  const Graph* graph = nullptr;
  std::span<const WeightHandle> weights;  // [graph->weights.size()]
  const WeightTable* weight_table = nullptr;
};

// Rows of one sequence in a step; the rows of a sequence are consecutive and its positions rise by one.
struct SequenceRows {
  int64_t row_begin = 0;
  int64_t num_rows = 0;
  int64_t first_position = 0;            // of the first row
  std::span<const int32_t> block_table;  // covers positions [0, first_position + num_rows)
};

// Where a value that crosses the segment's boundary lives: float32 [rows, cols], rows contiguous. The address is one of
// the address space; a device that does not share the host's memory uses its shadow of it.
struct ValueBinding {
  ValueId value = kNone;
  float* data = nullptr;
};

// The inputs and outputs of one submission. Everything pointed to stays valid until the event has finished.
struct Bindings {
  std::span<const int32_t> tokens;          // [T]
  std::span<const SequenceRows> sequences;  // [S], covering rows 0..T in order
  std::span<const int32_t> output_rows;     // [O] rising row indices
  std::byte* kv_base = nullptr;             // of the pool that block tables index
  size_t kv_block_bytes = 0;
  std::span<const ValueBinding> values;  // inputs and outputs of the segment
};

// A compiled segment. Owned by whoever asked for it; runs only on the device that made it.
class Executable {
 public:
  virtual ~Executable() = default;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceCaps& caps() const = 0;
  // Its side of the address space; null for the host's own processor, which needs none.
  virtual DeviceMemory* memory() { return nullptr; }
  // OK, or why the device can do no more work. Once lost it stays lost. Thread-safe.
  virtual Status health() const { return OkStatus(); }
  // Thread-safe.
  virtual DeviceTelemetry telemetry() const { return {}; }
  // May be slow. Errors: Unimplemented (an op, dtype or shape the device cannot run, named), ResourceExhausted.
  // `model` must outlive the executable.
  virtual Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                                      const ShapeBucket& bucket) = 0;
  // Starts the work after all `waits` have finished. REQUIRES: an executable of this device, bindings within its
  // bucket.
  virtual DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) = 0;
};

// Bytes of one KV block of a model, and where a layer's keys and values lie in it (layout: KvView in kernels.h).
struct KvBlockLayout {
  size_t block_bytes = 0;
  size_t layer_bytes = 0;  // keys and values of one layer
  size_t v_offset = 0;     // of the values within a layer
};
KvBlockLayout MakeKvBlockLayout(const KvSpec& spec);

}  // namespace lem
