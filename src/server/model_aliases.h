// Other names for models, such as "gpt-*" for programs that ask for no other ones, and the service that knows them.
//
// A model's own name comes first, then an alias that is equal, then patterns in the order they are written. Aliases
// stand in no list of models; whoever asks for one gets its model, under that one's own name.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/inference_service.h"

namespace lem {

// Immutable.
class ModelAliases {
 public:
  ModelAliases() = default;
  // Each is "NAME=MODEL"; a name may have one '*', which stands for anything. Errors: InvalidArgument with the text.
  static Result<ModelAliases> Parse(std::span<const std::string> aliases);

  // The model that `name` stands for, if any.
  std::optional<std::string> Find(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> models_;  // by name or pattern
};

// Thread-safe as the service is, which must outlive it.
class AliasedService final : public InferenceService {
 public:
  AliasedService(InferenceService& service, ModelAliases aliases) : service_(service), aliases_(std::move(aliases)) {}

  // Errors of an alias name it, too.
  Result<ModelInfo> FindModel(const std::string& id) const override;
  Status EnsureLoaded(const std::string& id, Clock::time_point deadline) override {
    return service_.EnsureLoaded(Resolve(id), deadline);
  }
  Status Unload(const std::string& id) override { return service_.Unload(Resolve(id)); }
  Status SetKeepAlive(const std::string& id, std::chrono::seconds keep_alive) override {
    return service_.SetKeepAlive(Resolve(id), keep_alive);
  }

  std::vector<ModelInfo> Models() const override { return service_.Models(); }
  void RefreshModels() override { service_.RefreshModels(); }
  bool Ready() const override { return service_.Ready(); }
  Result<std::unique_ptr<Generation>> Submit(GenerateRequest request) override {
    return service_.Submit(std::move(request));
  }
  ServiceStats Stats() const override { return service_.Stats(); }
  std::vector<DeviceInfo> DevicesInUse() const override { return service_.DevicesInUse(); }
  std::vector<DeviceInfo> Devices() const override { return service_.Devices(); }
  std::vector<PlanInfo> Plans() const override { return service_.Plans(); }
  std::vector<RouteStatus> Routes() const override { return service_.Routes(); }
  std::vector<TraceSpan> Trace() const override { return service_.Trace(); }
  void Drain(Clock::time_point deadline) override { service_.Drain(deadline); }

 private:
  std::string Resolve(const std::string& id) const;

  InferenceService& service_;
  const ModelAliases aliases_;
};

}  // namespace lem
