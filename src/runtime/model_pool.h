// The models of a service and the devices they run on: loads them at the start or when they are asked for, keeps them
// within one memory budget, and lets idle ones go.
//
// Thread-safe. Whoever works with a loaded model holds a lease; a model that is leased stays. Tokenisers and templates
// stay when a model goes, so that what ModelInfo points to lives as long as the pool.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "engine/constraint.h"
#include "engine/engine.h"
#include "runtime/inference_service.h"
#include "runtime/planning/live_planner.h"

namespace lem {

struct ModelSource {
  std::string id;
  std::filesystem::path path;
  bool at_start = true;  // loaded at once and kept; else when it is asked for, and let go when it has been idle
};

// The models that there are; nullopt if nothing has changed since it was asked last, or it cannot tell. Called from any
// thread, one at a time.
using ListModels = std::function<std::optional<std::vector<ModelSource>>()>;

struct ModelPoolOptions {
  std::vector<ModelSource> models;
  ListModels list_models;  // what comes later is there from then on, and what goes is not; empty = nothing does
  EngineOptions engine;
  bool place_by_cost = false;
  std::vector<std::string> devices;
  std::filesystem::path cache_folder;
  uint64_t memory_bytes = 0;             // for weights, keys and values of all models; 0 = what is available now
  std::chrono::seconds keep_alive{300};  // of models that were not loaded at the start
};

DeviceInfo DeviceInfoOf(const DeviceCaps& caps);

class ModelPool {
  struct Slot;

 public:
  using TimePoint = Clock::time_point;

  // Keeps a model loaded while it lives.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), slot_(other.slot_) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(slot_, other.slot_);
      return *this;
    }
    ~Lease();

    int32_t index() const;
    Engine& engine() const;
    const Model& model() const;
    const std::string& id() const;
    // Made by the first who asks.
    std::shared_ptr<const GrammarVocabulary> vocabulary() const;

   private:
    friend class ModelPool;
    Lease(ModelPool* pool, Slot* slot) : pool_(pool), slot_(slot) {}
    ModelPool* pool_ = nullptr;
    Slot* slot_ = nullptr;
  };

  // Starts to load; the planner and the threads must outlive it.
  ModelPool(ModelPoolOptions options, LivePlanner& planner, ThreadPool& threads);
  // REQUIRES: no leases.
  ~ModelPool();

  // The model, if it is loaded. Errors: NotFound naming the ids there are, Unavailable (loading, not loaded), why it
  // could not be loaded.
  Result<Lease> Use(const std::string& id);
  // Waits until the model is loaded, and has it loaded if need be; who waits for the same model waits for one load.
  // Errors: NotFound, DeadlineExceeded, ResourceExhausted (other models are in use and leave no room), of loading.
  Status EnsureLoaded(const std::string& id, TimePoint deadline);
  // It goes when nobody uses it any more; by itself it is not loaded again. Errors: NotFound.
  Status Unload(const std::string& id);
  // How long it stays when it is idle; negative = for ever. Errors: NotFound.
  Status SetKeepAlive(const std::string& id, std::chrono::seconds keep_alive);
  // Blocks until what was to be loaded at the start is, or failed. Errors: of the first that failed, naming it.
  Status WaitForStart();

  // Looks for models that have come or gone. May take as long as listing them does.
  void Refresh();
  std::vector<ModelInfo> Infos() const;
  Result<ModelInfo> Find(const std::string& id);
  // Of models at the start.
  bool AllReady() const;
  // Calls `use` with each engine that is loaded, which stays meanwhile.
  template <typename Use>
  void ForEachEngine(Use use) const {
    const std::lock_guard lock(mutex_);
    for (const auto& slot : slots_) {
      if (slot->info.state == ModelState::kReady) use(*slot->engine);
    }
  }
  void SetPlacementError(int32_t index, const Status& error);
  // Bytes moved between memories; empty before the first model.
  std::vector<TransferCount> Transfers() const;
  std::vector<DeviceInfo> DevicesInUse() const;

  uint64_t memory_bytes() const { return budget_; }

 private:
  // `info`, what the lock guards; the rest belongs to the loader's thread while the state is not kReady, and is
  // unchanged while it is.
  struct Slot {
    ModelSource source;
    ModelInfo info;
    int32_t index = 0;
    int64_t num_leases = 0;
    bool wanted = false;        // to be loaded
    bool is_gone = false;       // there is no such model any more; who uses it may go on
    bool unload_asked = false;  // to go as soon as it is idle
    TimePoint idle_since{};
    bool is_fresh = false;  // somebody had it loaded and has not used it yet
    std::chrono::seconds keep_alive{-1};
    double load_s = 0;  // what it took the last time
    uint64_t reserved_bytes = 0;
    int64_t loaded_mtime = 0;  // of the file that tokenizer and template are from

    std::shared_ptr<Tokenizer> tokenizer;
    std::shared_ptr<ChatTemplate> chat_template;
    std::mutex vocabulary_mutex;
    std::shared_ptr<const GrammarVocabulary> vocabulary;  // of `tokenizer`, shared with matchers; null until wanted

    std::unique_ptr<Model> model;
    Placement placement;
    std::vector<Placement> others;        // that are worth opening, too
    std::vector<std::string> device_ids;  // worth opening
    std::unique_ptr<Engine> engine;
  };

  void AddSlot(const ModelSource& source);
  // Looks again if it does not know the model. `lock` is of mutex_.
  Result<Slot*> FindSlot(const std::string& id, std::unique_lock<std::mutex>& lock);
  std::vector<Slot*> Slots() const;
  std::optional<TimePoint> ExpiryOf(const Slot& slot) const;
  void Work();
  Slot* NextToUnload(TimePoint now);
  TimePoint NextExpiry() const;
  void LoadAndReport(Slot& slot);
  Status Load(Slot& slot);
  Status OpenModel(Slot& slot);
  Status OpenDevices();
  Result<uint64_t> MakeRoom(Slot& slot);
  Status MakeEngine(Slot& slot, uint64_t kv_bytes);
  void DropModel(Slot& slot);
  void KeepText(Slot& slot);
  Status WriteDownInfo(Slot& slot);
  // Answers that can be repeated must not depend on what devices are busy with.
  bool chooses() const { return options_.place_by_cost && !options_.engine.deterministic; }

  const ModelPoolOptions options_;
  LivePlanner& planner_;
  ThreadPool& threads_;
  const KernelTable& kernels_;
  const uint64_t budget_;

  std::mutex list_mutex_;  // one asks what there is; taken before mutex_
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // wishes, states, leases that end
  bool stopping_ = false;
  std::unique_ptr<MemoryManager> memory_;  // made by the loader before any device
  DeviceRegistry devices_;                 // filled before the first engine is made, and unchanged then
  bool devices_open_ = false;
  std::vector<std::unique_ptr<Slot>> slots_;          // they stay where they are, and are never taken out
  std::vector<std::shared_ptr<const void>> retired_;  // texts of files that were replaced

  std::thread thread_;
};

}  // namespace lem
