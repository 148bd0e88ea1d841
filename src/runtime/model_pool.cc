#include "runtime/model_pool.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>

#include "base/cpu_info.h"
#include "base/duration.h"
#include "base/integer_math.h"
#include "base/log.h"
#include "device/machine.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

// Kept of the memory that is available at the start: for activations, text and other programs.
constexpr uint64_t kSpareBytes = uint64_t{1} << 30;
// A model whose context is as long as can be should have room for this.
constexpr int64_t kUsefulContext = 8192;
// A model stays so long for whoever had it loaded, however short it is kept otherwise.
constexpr std::chrono::seconds kFreshTime(60);

int64_t ModificationTime(const std::filesystem::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_mtime) : 0;
}

uint64_t BudgetOf(const ModelPoolOptions& options) {
  if (options.memory_bytes != 0) return options.memory_bytes;
  const uint64_t available = GetMemoryInfo().available_bytes;
  return available - std::min(available / 4, kSpareBytes);
}

}  // namespace

DeviceInfo DeviceInfoOf(const DeviceCaps& caps) {
  DeviceInfo info;
  info.id = caps.id;
  info.kind = DeviceKindName(caps.kind);
  info.name = caps.name;
  info.driver = caps.driver;
  info.emulated = caps.emulated;
  return info;
}

// --- leases ---

ModelPool::Lease::~Lease() {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  if (--slot_->num_leases > 0) return;
  slot_->idle_since = Clock::now();
  pool_->changed_.notify_all();
}

int32_t ModelPool::Lease::index() const { return slot_->index; }
Engine& ModelPool::Lease::engine() const { return *slot_->engine; }
const Model& ModelPool::Lease::model() const { return *slot_->model; }
const std::string& ModelPool::Lease::id() const { return slot_->source.id; }

std::shared_ptr<const GrammarVocabulary> ModelPool::Lease::vocabulary() const {
  const std::lock_guard lock(slot_->vocabulary_mutex);
  if (slot_->vocabulary == nullptr) slot_->vocabulary = GrammarVocabulary::Create(*slot_->tokenizer);
  return slot_->vocabulary;
}

// --- what callers ask for ---

ModelPool::ModelPool(ModelPoolOptions options, LivePlanner& planner, ThreadPool& threads)
    : options_(std::move(options)),
      planner_(planner),
      threads_(threads),
      kernels_(BestKernelTable()),
      budget_(BudgetOf(options_)) {
  for (const ModelSource& source : options_.models) AddSlot(source);
  thread_ = std::thread([this] { Work(); });
}

ModelPool::~ModelPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

// REQUIRES: mutex_ held, or nobody else knows the pool.
void ModelPool::AddSlot(const ModelSource& source) {
  auto slot = std::make_unique<Slot>();
  slot->source = source;
  slot->index = static_cast<int32_t>(slots_.size());
  slot->wanted = source.at_start;
  slot->keep_alive = source.at_start ? std::chrono::seconds(-1) : options_.keep_alive;
  slot->info.id = source.id;
  slot->info.path = source.path.string();
  slot->info.on_demand = !source.at_start;
  slot->info.created_unix_s = ModificationTime(source.path);
  slot->info.state = source.at_start ? ModelState::kLoading : ModelState::kUnloaded;
  std::error_code error;
  const auto size = std::filesystem::file_size(source.path, error);
  if (!error) slot->info.size_bytes = size;
  slots_.push_back(std::move(slot));
}

void ModelPool::Refresh() {
  if (!options_.list_models) return;
  const std::lock_guard list_lock(list_mutex_);
  const auto sources = options_.list_models();
  if (!sources) return;
  const std::lock_guard lock(mutex_);
  const auto is_same = [](const ModelSource& a, const ModelSource& b) { return a.id == b.id && a.path == b.path; };
  for (const auto& slot : slots_) {
    const bool is_there =
        std::ranges::any_of(*sources, [&](const ModelSource& source) { return is_same(source, slot->source); });
    if (slot->is_gone == is_there) LogInfo("model {} is {}", slot->source.id, is_there ? "there again" : "gone");
    slot->is_gone = !is_there;
    if (!is_there) slot->unload_asked = true;
  }
  for (ModelSource source : *sources) {
    if (std::ranges::any_of(slots_, [&](const auto& slot) { return is_same(source, slot->source); })) continue;
    source.at_start = false;
    AddSlot(source);
    LogInfo("model {} is there now", source.id);
  }
  changed_.notify_all();
}

Result<ModelPool::Slot*> ModelPool::FindSlot(const std::string& id, std::unique_lock<std::mutex>& lock) {
  const auto find = [&] {
    const auto is_it = [&](const auto& slot) { return !slot->is_gone && (id.empty() || slot->source.id == id); };
    const auto found = std::ranges::find_if(slots_, is_it);
    return found == slots_.end() ? nullptr : found->get();
  };
  if (Slot* const slot = find()) return slot;
  lock.unlock();
  Refresh();
  lock.lock();
  if (Slot* const slot = find()) return slot;
  std::vector<std::string> ids;
  for (const auto& slot : slots_) {
    if (!slot->is_gone) ids.push_back(slot->source.id);
  }
  if (ids.empty()) return NotFound("there is no model '{}', nor any other: pull one (lem pull smollm2:135m)", id);
  return NotFound("there is no model '{}'; models served here: {}", id, fmt::join(ids, ", "));
}

std::vector<ModelPool::Slot*> ModelPool::Slots() const {
  const std::lock_guard lock(mutex_);
  std::vector<Slot*> slots;
  slots.reserve(slots_.size());
  for (const auto& slot : slots_) slots.push_back(slot.get());
  return slots;
}

Result<ModelPool::Lease> ModelPool::Use(const std::string& id) {
  std::unique_lock lock(mutex_);
  LEM_ASSIGN_OR_RETURN(Slot* const found, FindSlot(id, lock));
  Slot& slot = *found;
  switch (slot.info.state) {
    case ModelState::kReady:
      break;
    case ModelState::kLoading:
      return Unavailable("model '{}' is still loading; try again soon", slot.source.id);
    case ModelState::kUnloaded:
      return Unavailable("model '{}' is not loaded", slot.source.id);
    case ModelState::kFailed:
      return slot.info.error;
  }
  ++slot.num_leases;
  slot.is_fresh = false;
  slot.unload_asked = false;  // who asks for it now wants it to stay
  return Lease(this, &slot);
}

Status ModelPool::EnsureLoaded(const std::string& id, TimePoint deadline) {
  std::unique_lock lock(mutex_);
  LEM_ASSIGN_OR_RETURN(Slot* const found, FindSlot(id, lock));
  Slot& slot = *found;
  const auto settled = [&] { return stopping_ || slot.info.state != ModelState::kLoading; };
  if (slot.info.state == ModelState::kUnloaded || (slot.info.state == ModelState::kFailed && !slot.source.at_start)) {
    slot.wanted = true;
    slot.info.state = ModelState::kLoading;
    changed_.notify_all();
  }
  slot.unload_asked = false;
  slot.is_fresh = true;
  slot.idle_since = Clock::now();
  if (deadline == TimePoint::max()) {
    changed_.wait(lock, settled);
  } else if (!changed_.wait_until(lock, deadline, settled)) {
    return DeadlineExceeded("the request's deadline has passed while model '{}' was being loaded", slot.source.id);
  }
  if (slot.info.state == ModelState::kFailed) return slot.info.error;
  if (slot.info.state == ModelState::kReady) return OkStatus();
  return Unavailable("model '{}' has been unloaded while it was waited for; try again", slot.source.id);
}

Status ModelPool::Unload(const std::string& id) {
  std::unique_lock lock(mutex_);
  LEM_ASSIGN_OR_RETURN(Slot* const slot, FindSlot(id, lock));
  slot->unload_asked = true;
  changed_.notify_all();
  return OkStatus();
}

Status ModelPool::SetKeepAlive(const std::string& id, std::chrono::seconds keep_alive) {
  std::unique_lock lock(mutex_);
  LEM_ASSIGN_OR_RETURN(Slot* const slot, FindSlot(id, lock));
  slot->keep_alive = keep_alive;
  changed_.notify_all();
  return OkStatus();
}

Status ModelPool::WaitForStart() {
  std::unique_lock lock(mutex_);
  const auto loading = [](const auto& slot) {
    return slot->source.at_start && slot->info.state == ModelState::kLoading;
  };
  changed_.wait(lock, [&] { return std::ranges::none_of(slots_, loading); });
  for (const auto& slot : slots_) {
    if (slot->source.at_start && !slot->info.error.ok()) return slot->info.error;
  }
  return OkStatus();
}

std::vector<ModelInfo> ModelPool::Infos() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelInfo> infos;
  infos.reserve(slots_.size());
  for (const auto& slot : slots_) {
    if (slot->is_gone) continue;
    infos.push_back(slot->info);
    infos.back().expires = ExpiryOf(*slot);
  }
  return infos;
}

Result<ModelInfo> ModelPool::Find(const std::string& id) {
  std::unique_lock lock(mutex_);
  LEM_ASSIGN_OR_RETURN(const Slot* const slot, FindSlot(id, lock));
  ModelInfo info = slot->info;
  info.expires = ExpiryOf(*slot);
  return info;
}

bool ModelPool::AllReady() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::all_of(slots_, [](const auto& slot) {
    return !slot->source.at_start || slot->is_gone || slot->info.state == ModelState::kReady;
  });
}

void ModelPool::SetPlacementError(int32_t index, const Status& error) {
  const std::lock_guard lock(mutex_);
  slots_[static_cast<size_t>(index)]->info.placement_error = error;
}

std::vector<TransferCount> ModelPool::Transfers() const {
  const std::lock_guard lock(mutex_);
  return memory_ == nullptr ? std::vector<TransferCount>{} : memory_->ledger().Counts();
}

std::vector<DeviceInfo> ModelPool::DevicesInUse() const {
  const std::lock_guard lock(mutex_);
  const bool compiling = std::ranges::any_of(
      slots_, [](const auto& slot) { return slot->info.state == ModelState::kReady && slot->engine->compiling(); });
  std::vector<DeviceInfo> devices;
  for (const auto& device : devices_.devices()) {
    DeviceInfo info = DeviceInfoOf(device->caps());
    info.in_use = true;
    info.health = device->health();
    info.compiling = compiling && device->caps().compiles_slowly;
    const DeviceTelemetry telemetry = device->telemetry();
    info.submissions = telemetry.submissions;
    info.memory_bytes = telemetry.memory_bytes;
    devices.push_back(std::move(info));
  }
  return devices;
}

// --- the loader's thread ---

// When an idle model goes; nullopt while it is used, or if it stays.
std::optional<ModelPool::TimePoint> ModelPool::ExpiryOf(const Slot& slot) const {
  if (slot.info.state != ModelState::kReady || slot.num_leases > 0) return std::nullopt;
  if (slot.unload_asked) return slot.idle_since;
  if (slot.keep_alive.count() < 0) return std::nullopt;
  return slot.idle_since + (slot.is_fresh ? std::max(slot.keep_alive, kFreshTime) : slot.keep_alive);
}

ModelPool::TimePoint ModelPool::NextExpiry() const {
  TimePoint next = Clock::now() + std::chrono::hours(1);
  for (const auto& slot : slots_) {
    if (const auto expiry = ExpiryOf(*slot)) next = std::min(next, *expiry);
  }
  return next;
}

// Takes the model that has to go from everybody's reach.
ModelPool::Slot* ModelPool::NextToUnload(TimePoint now) {
  for (const auto& slot : slots_) {
    const std::optional<TimePoint> expiry = ExpiryOf(*slot);
    if (!expiry || *expiry > now) continue;
    slot->info.state = ModelState::kUnloaded;
    slot->unload_asked = false;
    return slot.get();
  }
  return nullptr;
}

void ModelPool::Work() {
  for (;;) {
    Slot *to_unload = nullptr, *to_load = nullptr;
    {
      std::unique_lock lock(mutex_);
      for (;;) {
        if (stopping_) break;
        to_unload = NextToUnload(Clock::now());
        const auto wanted = std::ranges::find_if(slots_, [](const auto& slot) { return slot->wanted; });
        if (wanted != slots_.end()) to_load = wanted->get();
        if (to_unload != nullptr || to_load != nullptr) break;
        changed_.wait_until(lock, NextExpiry());
      }
      if (stopping_) break;
      if (to_unload == nullptr) to_load->wanted = false;
    }
    if (to_unload != nullptr) {
      DropModel(*to_unload);
    } else {
      LoadAndReport(*to_load);
    }
  }
  for (Slot* const slot : Slots()) {
    if (slot->engine != nullptr) planner_.RemoveModel(slot->index);
    slot->engine.reset();
  }
}

void ModelPool::LoadAndReport(Slot& slot) {
  const Clock::time_point begin = Clock::now();
  Status status = Load(slot);
  if (!status.ok()) {
    slot.engine.reset();
    slot.model.reset();
  }
  const std::lock_guard lock(mutex_);
  slot.idle_since = Clock::now();
  if (status.ok()) {
    slot.info.state = ModelState::kReady;
    slot.info.error = OkStatus();
    slot.load_s = MillisecondsSince(begin) / 1000;
    LogDebug("model {} loaded in {:.2f} s", slot.source.id, slot.load_s);
  } else {
    slot.info.state = ModelState::kFailed;
    slot.reserved_bytes = 0;
    slot.info.memory_bytes = 0;
    slot.info.error = std::move(status).WithContext(fmt::format("model '{}' cannot be loaded", slot.source.id));
  }
  changed_.notify_all();
}

// The models at the start are all opened before the first of them gets an engine, because engines want to know the
// devices.
Status ModelPool::Load(Slot& slot) {
  if (!devices_open_) {
    for (Slot* const other : Slots()) {
      if (!other->source.at_start && other != &slot) continue;
      const Status opened = OpenModel(*other);
      if (!opened.ok()) other->model.reset();  // it says so itself when its turn comes
    }
    LEM_TRY(OpenDevices());
  }
  if (slot.model == nullptr) LEM_TRY(OpenModel(slot));
  LEM_ASSIGN_OR_RETURN(const uint64_t kv_bytes, MakeRoom(slot));
  return MakeEngine(slot, kv_bytes);
}

// Maps the model, and decides where it will run.
Status ModelPool::OpenModel(Slot& slot) {
  slot.placement = options_.engine.placement;
  slot.others.clear();
  slot.device_ids.clear();
  LEM_ASSIGN_OR_RETURN(slot.model, LoadModel(slot.source.path));
  if (!chooses()) return OkStatus();
  LEM_ASSIGN_OR_RETURN(LivePlanner::Proposal proposal, planner_.Propose(*slot.model));
  slot.placement = std::move(proposal.placement);
  slot.others = std::move(proposal.others);
  slot.device_ids = std::move(proposal.device_ids);
  LogInfo("model {} is placed by predicted cost: {} for common requests", slot.source.id,
          FormatPlacement(slot.placement));
  return OkStatus();
}

// The CPU always: it takes over from a device that is lost.
Status ModelPool::OpenDevices() {
  {
    const std::lock_guard lock(mutex_);
    if (memory_ == nullptr) {
      LEM_ASSIGN_OR_RETURN(memory_, MemoryManager::Create());
    }
  }
  const DeviceHost host{threads_, kernels_, *memory_, options_.cache_folder};
  std::vector<std::string> ids = {"cpu"};
  const auto add = [&](const std::vector<std::string>& wanted) {
    for (const std::string& id : wanted) {
      if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
    }
  };
  add(options_.engine.placement.DeviceIds());
  for (const Slot* const slot : Slots()) {
    if (slot->model == nullptr) continue;
    add(slot->placement.DeviceIds());
    add(slot->device_ids);
  }
  for (const std::string& id : ids) {
    if (devices_.Find(id).ok()) continue;
    Result<std::unique_ptr<Device>> device = OpenDevice(id, host);
    const bool must =
        !options_.place_by_cost || id == "cpu" || std::ranges::find(options_.devices, id) != options_.devices.end();
    if (!device.ok() && must) return device.status();
    if (!device.ok()) {
      LogWarning("device {} is in the profile of this machine and cannot be used: {}", id, device.status().message());
      continue;
    }
    const std::lock_guard lock(mutex_);
    devices_.Add(std::move(*device));
    if (devices_.space_memory().size() > KvResidency::kMaxSpaces) {
      return InvalidArgument("the placements use {} devices with memories of their own; at most {} can be used",
                             devices_.space_memory().size() - 1, KvResidency::kMaxSpaces - 1);
    }
  }
  devices_open_ = true;
  return OkStatus();
}

// Books the model's weights and its keys and values, which idle models give way to: first those that were idle longest
// for what it takes to load them again. Returns the bytes for keys and values.
Result<uint64_t> ModelPool::MakeRoom(Slot& slot) {
  const Model& model = *slot.model;
  const uint64_t block_bytes = MakeKvBlockLayout(model.graph.kv).block_bytes;
  const auto kv_of = [&](int64_t tokens) {
    return static_cast<uint64_t>(DivideUp(tokens, kKvBlockTokens)) * block_bytes;
  };
  const int64_t trained = std::max<int64_t>(model.config.context_length, 1);
  const int64_t asked = options_.engine.context_length;
  uint64_t least = asked != 0 ? kv_of(asked) : kv_of(std::min(trained, kUsefulContext));
  if (options_.engine.kv_cache_bytes != 0) least = options_.engine.kv_cache_bytes;
  const uint64_t needed = model.file_bytes + least;
  for (;;) {
    Slot* victim = nullptr;
    uint64_t left = 0;
    {
      const std::lock_guard lock(mutex_);
      uint64_t reserved = 0;
      bool others = false;
      for (const auto& other : slots_) {
        if (other.get() == &slot) continue;
        reserved += other->reserved_bytes;
        others |= other->reserved_bytes > 0;
      }
      left = budget_ - std::min(budget_, reserved);
      // What is too large for the budget by itself is tried: pages of weights come and go.
      if (needed <= left || !others) {
        uint64_t kv = least;
        if (options_.engine.kv_cache_bytes == 0 && left > needed) kv = std::max(least, (left - model.file_bytes) / 2);
        slot.reserved_bytes = model.file_bytes + kv;
        slot.info.memory_bytes = slot.reserved_bytes;
        return kv;
      }
      double best = -1;
      for (const auto& other : slots_) {
        if (other->info.state != ModelState::kReady || other->num_leases > 0 || other->keep_alive.count() < 0) continue;
        const double score = (MillisecondsSince(other->idle_since) + 1) / (other->load_s + 0.01);
        if (score <= best) continue;
        best = score;
        victim = other.get();
      }
      if (victim != nullptr) victim->info.state = ModelState::kUnloaded;
    }
    if (victim == nullptr) {
      return ResourceExhausted(
          "it needs {} bytes ({} for weights, {} for keys and values) and {} of {} are left beside models that are in "
          "use or stay loaded; unload one of them, or allow more memory",
          needed, model.file_bytes, least, left, budget_);
    }
    LogInfo("model {} makes room for {}", victim->source.id, slot.source.id);
    DropModel(*victim);
  }
}

Status ModelPool::MakeEngine(Slot& slot, uint64_t kv_bytes) {
  KeepText(slot);
  EngineOptions options = options_.engine;
  options.placement = slot.placement;
  options.kv_cache_limit = kv_bytes;
  if (options.prefix_file_bytes > 0 && !options_.cache_folder.empty()) {
    std::string name = slot.source.id;
    std::ranges::replace_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '-');
    options.prefix_file = options_.cache_folder / "prefixes" / (name + ".kv");
    options.prefix_fingerprint =
        fmt::format("{} {} {}", slot.source.path.string(), slot.model->file_bytes, ModificationTime(slot.source.path));
  }
  const auto is_open = [this](const std::string& id) { return devices_.Find(id).ok(); };
  if (chooses() && !std::ranges::all_of(slot.placement.DeviceIds(), is_open)) options.placement = PlacementOnCpu();
  Result<std::unique_ptr<Engine>> engine = Engine::Create(*slot.model, devices_, *memory_, kernels_, options);
  if (!engine.ok() && chooses()) {
    // Who leaves the choice to us gets an answer.
    LogWarning("model {} cannot be placed as planned, it goes to the CPU: {}", slot.source.id,
               engine.status().message());
    options.placement = PlacementOnCpu();
    engine = Engine::Create(*slot.model, devices_, *memory_, kernels_, options);
  }
  LEM_TRY(engine.status());
  slot.engine = std::move(*engine);
  LEM_TRY(planner_.AddModel(slot.index, slot.source.id, *slot.model, *slot.engine, devices_,
                            FormatPlacement(options.placement), chooses()));
  for (const Placement& placement : slot.others) {
    if (std::ranges::all_of(placement.DeviceIds(), is_open)) slot.engine->routes().Prepare(placement);
  }
  const std::lock_guard lock(mutex_);
  const Model& model = *slot.model;
  slot.info.architecture = model.config.architecture;
  slot.info.quantization = model.quantization;
  slot.info.num_parameters = model.num_parameters;
  slot.info.size_bytes = model.file_bytes;
  slot.info.hidden_size = static_cast<int32_t>(model.config.hidden_size);
  slot.info.context_length = static_cast<int32_t>(slot.engine->context_length());
  slot.info.tokenizer = slot.tokenizer.get();
  slot.info.chat_template = slot.chat_template.get();
  slot.info.placement_error = OkStatus();
  return OkStatus();
}

// What callers point to survives the model. A file that was replaced brings its own.
void ModelPool::KeepText(Slot& slot) {
  const int64_t mtime = ModificationTime(slot.source.path);
  if (slot.tokenizer != nullptr && slot.loaded_mtime == mtime) {
    slot.model->tokenizer = slot.tokenizer;
    slot.model->chat_template = slot.chat_template;
    return;
  }
  const std::lock_guard lock(mutex_);
  if (slot.tokenizer != nullptr) {
    retired_.push_back(slot.tokenizer);
    retired_.push_back(slot.chat_template);
  }
  {
    const std::lock_guard vocabulary_lock(slot.vocabulary_mutex);
    slot.vocabulary.reset();
  }
  slot.tokenizer = slot.model->tokenizer;
  slot.chat_template = slot.model->chat_template;
  slot.loaded_mtime = mtime;
}

// REQUIRES: its state is kUnloaded, and nobody has a lease.
void ModelPool::DropModel(Slot& slot) {
  planner_.RemoveModel(slot.index);
  slot.engine.reset();
  slot.model.reset();
  const std::lock_guard lock(mutex_);
  slot.reserved_bytes = 0;
  slot.info.memory_bytes = 0;
  LogInfo("model {} is unloaded", slot.source.id);
  changed_.notify_all();
}

}  // namespace lem
