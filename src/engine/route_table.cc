#include "engine/route_table.h"

#include <sys/resource.h>

#include <algorithm>

namespace lem {

RouteTable::RouteTable(const BoundGraph& model, const DeviceRegistry& devices, MemoryManager& memory)
    : model_(model), devices_(devices), memory_(memory), weights_(std::make_shared<PlacedWeights>(memory)) {}

RouteTable::~RouteTable() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    jobs_.clear();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void RouteTable::SetSteps(KvBlockPool& pool, int64_t max_tokens, int64_t max_outputs) {
  pool_ = &pool;
  max_tokens_ = max_tokens;
  max_outputs_ = max_outputs;
}

Result<std::unique_ptr<Route>> RouteTable::Place(const Placement& placement) {
  return Route::Create(model_, placement, devices_, weights_);
}

Status RouteTable::Compile(Route& route) {
  {
    const std::lock_guard lock(mapping_mutex_);
    for (Device* device : route.placed().devices()) {
      DeviceMemory* const memory = device->memory();
      if (memory == nullptr || std::ranges::find(mapped_, memory) != mapped_.end()) continue;
      LEM_TRY(pool_->MapTo(*memory).WithContext(
          fmt::format("keys and values cannot be reached from {}", device->caps().id)));
      mapped_.push_back(memory);
    }
  }
  return route.Compile(max_tokens_, max_outputs_, memory_);
}

Result<std::shared_ptr<Route>> RouteTable::Open(std::unique_ptr<Route> placed) {
  LEM_TRY(Compile(*placed));
  const std::lock_guard lock(mutex_);
  Entry& entry = EntryOf(FormatPlacement(placed->placed().placement()));
  entry.info.state = RouteState::kReady;
  entry.route = std::move(placed);
  return entry.route;
}

void RouteTable::Prepare(std::unique_ptr<Route> placed) {
  std::string placement = FormatPlacement(placed->placed().placement());
  Enqueue(std::move(placement), std::move(placed));
}

void RouteTable::Prepare(const Placement& placement) { Enqueue(FormatPlacement(placement), placement); }

void RouteTable::Enqueue(std::string placement, Job job) {
  const std::lock_guard lock(mutex_);
  if (std::ranges::find(entries_, placement, [](const Entry& e) -> const std::string& { return e.info.placement; }) !=
      entries_.end()) {
    return;
  }
  EntryOf(placement).info.state = RouteState::kOpening;
  jobs_.emplace_back(std::move(placement), std::move(job));
  if (!thread_.joinable()) thread_ = std::thread([this] { OpenInBackground(); });
  changed_.notify_all();
}

void RouteTable::OpenInBackground() {
  constexpr int kNice = 10;  // requests that run meanwhile come first; on Linux this is the thread's own
  ::setpriority(PRIO_PROCESS, 0, kNice);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    auto [placement, job] = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    auto* const placed = std::get_if<std::unique_ptr<Route>>(&job);
    Result<std::unique_ptr<Route>> route = placed != nullptr ? std::move(*placed) : Place(std::get<Placement>(job));
    const Status status = route.ok() ? Compile(**route) : route.status();
    lock.lock();
    Entry& entry = EntryOf(placement);
    entry.info.state = status.ok() ? RouteState::kReady : RouteState::kFailed;
    entry.info.error = status;
    if (status.ok()) entry.route = std::move(*route);
    changed_.notify_all();
  }
}

RouteTable::Entry& RouteTable::EntryOf(const std::string& placement) {
  for (Entry& entry : entries_) {
    if (entry.info.placement == placement) return entry;
  }
  entries_.push_back({{.placement = placement}, nullptr});
  return entries_.back();
}

std::shared_ptr<Route> RouteTable::Find(const std::string& placement) const {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    if (entry.info.placement == placement) return entry.route;
  }
  return nullptr;
}

std::optional<RouteInfo> RouteTable::Info(const std::string& placement) const {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    if (entry.info.placement == placement) return entry.info;
  }
  return std::nullopt;
}

std::vector<RouteInfo> RouteTable::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<RouteInfo> list;
  list.reserve(entries_.size());
  for (const Entry& entry : entries_) list.push_back(entry.info);
  return list;
}

bool RouteTable::is_opening() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(entries_, [](const Entry& e) { return e.info.state == RouteState::kOpening; });
}

void RouteTable::Wait(const std::string& placement) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return std::ranges::none_of(entries_, [&](const Entry& entry) {
      return entry.info.placement == placement && entry.info.state == RouteState::kOpening;
    });
  });
}

void RouteTable::CloseLost() {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [](const Entry& entry) {
    return entry.route != nullptr &&
           std::ranges::any_of(entry.route->placed().devices(), [](Device* device) { return !device->health().ok(); });
  });
}

}  // namespace lem
