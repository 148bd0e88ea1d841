// The InferenceService of this process: loads models, and runs one engine thread that joins scheduler and engines.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "runtime/inference_service.h"

namespace lem {

struct ModelSource {
  std::string id;
  std::filesystem::path path;
};

struct LocalServiceOptions {
  std::vector<ModelSource> models;  // at least one
  int32_t num_threads = 0;          // of the compute pool; 0 = one a processor
  EngineOptions engine;             // for every model; its placement names the devices that are opened
  // If set, models are placed by predicted cost, from this machine's profile there, and not by engine.placement.
  std::filesystem::path profiles_folder;
  std::filesystem::path cache_folder;  // for what devices compile; empty = none
  int64_t max_waiting = 1024;          // queued requests before new ones are refused
};

// "auto", or a placement. Errors: as ParsePlacement.
Status SetPlacement(std::string_view text, LocalServiceOptions& options);

// Returns at once; models load in the background (InferenceService::Ready, WaitUntilLoaded).
class LocalService : public InferenceService {
 public:
  explicit LocalService(LocalServiceOptions options);
  ~LocalService() override;

  // Blocks until every model has loaded or failed. Errors: that of the first model that failed, naming it.
  Status WaitUntilLoaded();

  std::vector<ModelInfo> Models() const override;
  Result<ModelInfo> FindModel(const std::string& id) const override;
  bool Ready() const override;
  Result<std::unique_ptr<Generation>> Submit(GenerateRequest request) override;
  ServiceStats Stats() const override;
  std::vector<DeviceInfo> DevicesInUse() const override;
  std::vector<DeviceInfo> Devices() const override;
  void Drain(Clock::time_point deadline) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lem
