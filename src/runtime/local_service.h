// The InferenceService of this process: loads models, and runs one engine thread that joins scheduler and engines.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "runtime/inference_service.h"
#include "runtime/model_pool.h"
#include "scheduler/placement_search.h"
#include "scheduler/scheduler.h"

namespace lem {

struct LocalServiceOptions {
  std::vector<ModelSource> models;
  ListModels list_models;            // models that come and go later; empty = none
  int32_t num_threads = 0;           // of the compute pool; 0 = one a processor
  EngineOptions engine;              // for every model; unless requests are placed by cost, its placement names devices
  bool place_by_cost = false;        // each request goes where it is predicted to be best, and not to engine.placement
  Goal goal = Goal::kLatency;        // of that
  std::vector<std::string> devices;  // that it may use; empty = those of the profile that are worth it
  std::filesystem::path profiles_folder;  // of this machine's profile and what was learned since; empty = none
  std::filesystem::path cache_folder;     // for what devices compile; empty = none
  uint64_t memory_bytes = 0;              // for weights, keys and values of all models; 0 = what is available
  std::chrono::seconds keep_alive{300};   // of idle models that were loaded because somebody asked for them
  int64_t max_waiting = 1024;             // queued requests before new ones are refused
  SchedulerOptions scheduler;
};

// What a user says of placement: "auto" or a placement; an objective; devices that "auto" may use. Errors: as
// ParsePlacement and ParseGoal; InvalidArgument for devices that are named beside a placement.
struct PlacementChoice {
  std::string placement = "auto", objective = "latency";
  std::vector<std::string> devices;
};
Status SetPlacement(const PlacementChoice& choice, LocalServiceOptions& options);

// Returns at once; models load in the background (InferenceService::Ready, WaitUntilLoaded).
class LocalService : public InferenceService {
 public:
  explicit LocalService(LocalServiceOptions options);
  ~LocalService() override;

  // Blocks until every model has loaded or failed. Errors: that of the first model that failed, naming it.
  Status WaitUntilLoaded();

  std::vector<ModelInfo> Models() const override;
  void RefreshModels() override;
  Result<ModelInfo> FindModel(const std::string& id) const override;
  bool Ready() const override;
  Status EnsureLoaded(const std::string& id, Clock::time_point deadline) override;
  Status Unload(const std::string& id) override;
  Status SetKeepAlive(const std::string& id, std::chrono::seconds keep_alive) override;
  Result<std::unique_ptr<Generation>> Submit(GenerateRequest request) override;
  ServiceStats Stats() const override;
  std::vector<DeviceInfo> DevicesInUse() const override;
  std::vector<DeviceInfo> Devices() const override;
  std::vector<PlanInfo> Plans() const override;
  std::vector<RouteStatus> Routes() const override;
  std::vector<TraceSpan> Trace() const override;
  void Drain(Clock::time_point deadline) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lem
