// The one door to inference for the CLI and the server: request in, events out, deadline, cancel.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "request/request.h"
#include "runtime/planning/plan_info.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lem {

// kUnloaded: it is loaded when it is asked for.
enum class ModelState { kUnloaded, kLoading, kReady, kFailed };

// What callers may know of a model. Pointers live as long as the service, also when the model is unloaded. Tokeniser
// and template are thread-safe.
struct ModelInfo {
  std::string id;
  std::string path;
  ModelState state = ModelState::kLoading;
  Status error;              // for kFailed
  Status placement_error;    // why its requests stay on the CPU although they were placed elsewhere
  std::string architecture;  // "llama"
  std::string quantization;  // "Q4_1"
  uint64_t num_parameters = 0;
  uint64_t size_bytes = 0;
  int32_t context_length = 0;                   // longest prompt + answer served
  int32_t hidden_size = 0;                      // entries of an embedding
  uint64_t memory_bytes = 0;                    // set aside for its weights, keys and values; 0 = not loaded
  bool on_demand = false;                       // loaded when it is asked for
  std::optional<Clock::time_point> expires;     // when it will be unloaded if nobody asks for it
  int64_t created_unix_s = 0;                   // modification time of the file
  const Tokenizer* tokenizer = nullptr;         // null until it was loaded once
  const ChatTemplate* chat_template = nullptr;  // the same
};

// A running generation. The owner polls events from one thread; destroying it cancels. Events of one generation come in
// order and end with exactly one FinishedEvent.
class Generation {
 public:
  virtual ~Generation() = default;
  // The next event if there is one now.
  virtual std::optional<Event> Poll() = 0;
  // Blocks until there is one. REQUIRES: FinishedEvent has not been taken.
  virtual Event Wait() = 0;
  // `notify` is called from the engine's thread whenever Poll has become worth calling; it must be quick (post to an
  // event loop). Called at once if events are waiting. Not called again before the queue has been drained by Poll.
  virtual void SetNotify(std::function<void()> notify) = 0;
  virtual void Cancel() = 0;
  // How it was placed when it was submitted.
  virtual PlanSummary plan() const { return {}; }
};

// A processor of this machine, as callers see it.
struct DeviceInfo {
  std::string id, kind, name, driver;  // kind: "cpu", "gpu" or "npu"
  bool emulated = false;
  bool in_use = false;     // a model is placed on it
  bool compiling = false;  // requests are served elsewhere until it is done
  Status health;           // why it is lost
  uint64_t submissions = 0;
  uint64_t memory_bytes = 0;  // of it that this process holds
};

// Bytes that were moved between memories.
struct MovedBytes {
  std::string device, direction, cause;
  uint64_t bytes = 0;
};

// Numbers for /metrics, read at any time.
struct ServiceStats {
  uint64_t requests_total = 0, requests_failed = 0, requests_cancelled = 0;
  uint64_t prompt_tokens_total = 0, generated_tokens_total = 0;
  int32_t running = 0, waiting = 0;
  uint64_t guessed_tokens_total = 0;  // of generated_tokens_total
  uint64_t cached_tokens_total = 0;   // of prompt_tokens_total, whose keys and values existed
  uint64_t kv_blocks_total = 0, kv_blocks_used = 0;
  uint64_t kv_blocks_cached = 0;  // beside those in use: given up when they are needed
  uint64_t steps_total = 0;
  uint64_t interrupted_total = 0;  // sequences that gave way to more urgent ones, or for want of blocks
  uint64_t handovers_total = 0;    // of answers to devices of other numerics
  std::vector<MovedBytes> moved_bytes;
  std::vector<PredictionStats> predictions;
  std::map<std::string, double> joules_total;  // of finished generations, by source
};

class InferenceService {
 public:
  virtual ~InferenceService() = default;

  virtual std::vector<ModelInfo> Models() const = 0;
  // Looks for models that have come or gone since; may read the disk.
  virtual void RefreshModels() {}
  // Empty id = the only or first model. NotFound names the ids there are.
  virtual Result<ModelInfo> FindModel(const std::string& id) const = 0;
  // True when every model asked for at start is kReady.
  virtual bool Ready() const = 0;

  // Waits until the model is loaded; many who wait cause one load. It stays for a while, see SetKeepAlive. Errors:
  // NotFound, DeadlineExceeded, ResourceExhausted (models in use leave no room), of loading.
  virtual Status EnsureLoaded(const std::string& id, Clock::time_point deadline) = 0;
  // The model goes when nobody uses it any more, until it is asked for again. Errors: NotFound.
  virtual Status Unload(const std::string& id) = 0;
  // How long it stays loaded without requests; negative = for ever. Errors: NotFound.
  virtual Status SetKeepAlive(const std::string& id, std::chrono::seconds keep_alive) = 0;

  // Checks and queues. Errors: NotFound (model), InvalidArgument (empty prompt, token id outside the vocabulary, prompt
  // + max_tokens longer than the context: with the numbers), ResourceExhausted (queue full, or the request would come
  // too late; says when to try again), DeadlineExceeded, Unavailable (not loaded, draining).
  virtual Result<std::unique_ptr<Generation>> Submit(GenerateRequest request) = 0;

  virtual ServiceStats Stats() const = 0;
  // Devices that models are placed on. Cheap.
  virtual std::vector<DeviceInfo> DevicesInUse() const = 0;
  // Every device of the machine. May take some tens of milliseconds.
  virtual std::vector<DeviceInfo> Devices() const = 0;
  // How requests are and were run, the latest first; the ways through the models that are open; the devices' timelines.
  virtual std::vector<PlanInfo> Plans() const { return {}; }
  virtual std::vector<RouteStatus> Routes() const { return {}; }
  virtual std::vector<TraceSpan> Trace() const { return {}; }
  // Refuses new requests from now on; waits for running ones until `deadline`, then cancels them.
  virtual void Drain(Clock::time_point deadline) = 0;
};

}  // namespace lem
