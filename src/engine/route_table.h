// The ways through one model that are open or being opened, by the text of their placement.
//
// Opening takes weights to devices and compiles, which may take seconds: a thread of low priority does it, one way
// after the other, while requests run on what is open. All ways share the model's weights and the pool of keys and
// values. Thread-safe but for what is marked; a route itself is run by the engine's thread alone.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "executor/route.h"
#include "memory/kv_block_pool.h"

namespace lem {

enum class RouteState : uint8_t { kOpening, kReady, kFailed };

struct RouteInfo {
  std::string placement;
  RouteState state = RouteState::kOpening;
  Status error;  // of kFailed
};

class RouteTable {
 public:
  // The model, devices and memory must outlive it.
  RouteTable(const BoundGraph& model, const DeviceRegistry& devices, MemoryManager& memory);
  ~RouteTable();  // waits for a way that is just being opened

  // Before anything is opened. The pool must outlive the table.
  void SetSteps(KvBlockPool& pool, int64_t max_tokens, int64_t max_outputs);

  // Takes the weights to their devices. Errors: as PlacedModel::Create.
  Result<std::unique_ptr<Route>> Place(const Placement& placement);
  // Compiles a placed one, now. Errors: as Executor::Create.
  Result<std::shared_ptr<Route>> Open(std::unique_ptr<Route> placed);
  // Compiles a placed one, or places and compiles, in the background.
  void Prepare(std::unique_ptr<Route> placed);
  void Prepare(const Placement& placement);

  // Null if there is no such way, or it is not ready.
  std::shared_ptr<Route> Find(const std::string& placement) const;
  // Null if it was never asked for, or was closed.
  std::optional<RouteInfo> Info(const std::string& placement) const;
  std::vector<RouteInfo> List() const;
  bool is_opening() const;
  // Until `placement` is no longer being opened.
  void Wait(const std::string& placement);
  // Closes the ways over devices that are lost. Who runs on them still holds them.
  void CloseLost();

 private:
  struct Entry {
    RouteInfo info;
    std::shared_ptr<Route> route;
  };
  using Job = std::variant<std::unique_ptr<Route>, Placement>;

  void Enqueue(std::string placement, Job job);
  void OpenInBackground();
  Status Compile(Route& route);
  // REQUIRES: mutex_ held.
  Entry& EntryOf(const std::string& placement);

  const BoundGraph model_;
  const DeviceRegistry& devices_;
  MemoryManager& memory_;
  const std::shared_ptr<PlacedWeights> weights_;
  KvBlockPool* pool_ = nullptr;
  int64_t max_tokens_ = 0, max_outputs_ = 0;

  std::mutex mapping_mutex_;
  std::vector<DeviceMemory*> mapped_;  // that reach the pool; guarded by mapping_mutex_
  mutable std::mutex mutex_;           // guards what follows
  std::condition_variable changed_;
  std::vector<Entry> entries_;
  std::deque<std::pair<std::string, Job>> jobs_;
  bool stopping_ = false;
  std::thread thread_;  // begun with the first job
};

}  // namespace lem
