#include "device/testing/shadow_device.h"

#include <sys/mman.h>

#include <cstring>

#include "base/check.h"

namespace lem {
namespace {

// What the CPU compiled, and the weights it compiled it with: those of the shadow.
struct ShadowExecutable : Executable {
  WeightTable table;
  std::vector<WeightHandle> handles;
  Graph graph;
  std::unique_ptr<Executable> inner;
};

}  // namespace

Status ShadowMemory::Map(const std::byte* data, size_t bytes, size_t /*granule*/) {
  const std::lock_guard lock(mutex_);
  void* shadow = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shadow == MAP_FAILED) return ResourceExhausted("no shadow of {} bytes", bytes);
  LEM_CHECK(ranges_.emplace(data, Range{bytes, static_cast<std::byte*>(shadow)}).second);
  return OkStatus();
}

void ShadowMemory::Unmap(const std::byte* data) {
  const std::lock_guard lock(mutex_);
  const auto it = ranges_.find(data);
  LEM_CHECK(it != ranges_.end());
  ::munmap(it->second.shadow, it->second.bytes);
  ranges_.erase(it);
}

std::byte* ShadowMemory::ShadowOf(const std::byte* data) {
  const std::lock_guard lock(mutex_);
  auto it = ranges_.upper_bound(data);
  if (it == ranges_.begin()) return nullptr;
  --it;
  const auto offset = static_cast<size_t>(data - it->first);
  return offset < it->second.bytes ? it->second.shadow + offset : nullptr;
}

size_t ShadowMemory::num_ranges() {
  const std::lock_guard lock(mutex_);
  return ranges_.size();
}

Status ShadowMemory::CopyIn(const std::byte* data, size_t bytes, TransferCause cause) {
  if (lost_.load()) return Unavailable("device lost");
  std::memcpy(ShadowOf(data), data, bytes);
  account_.Add(TransferDirection::kToDevice, cause, bytes);
  return OkStatus();
}

Status ShadowMemory::CopyOut(std::byte* data, size_t bytes, TransferCause cause) {
  if (lost_.load()) return Unavailable("device lost");
  std::memcpy(data, ShadowOf(data), bytes);
  account_.Add(TransferDirection::kToHost, cause, bytes);
  return OkStatus();
}

ShadowDevice::ShadowDevice(std::string id, Device& cpu, MemoryManager& memory)
    : cpu_(cpu), memory_(memory.ledger().AccountOf(id), lost_), caps_(cpu.caps()) {
  caps_.id = std::move(id);
  caps_.name = "shadow of the CPU, for tests";
  caps_.kind = DeviceKind::kGpu;
  caps_.emulated = true;
}

Status ShadowDevice::health() const { return lost_.load() ? Unavailable("device lost") : OkStatus(); }

Result<std::unique_ptr<Executable>> ShadowDevice::Compile(const BoundGraph& model, const Segment& segment,
                                                          const ShapeBucket& bucket) {
  auto executable = std::make_unique<ShadowExecutable>();
  executable->graph = *model.graph;
  for (const WeightHandle handle : model.weights) {
    const std::span<const std::byte> host = model.weight_table->host_bytes(handle);
    const std::byte* data = model.weight_table->device_data(handle);
    // Weights that are not mapped belong to other segments.
    const std::byte* shadow_data = data == nullptr ? nullptr : memory_.ShadowOf(data);
    const std::byte* bytes = shadow_data == nullptr ? host.data() : shadow_data;
    executable->handles.push_back(
        executable->table.Add(model.weight_table->desc(handle), {bytes, host.size()}, nullptr));
  }
  const BoundGraph shadow{&executable->graph, executable->handles, &executable->table};
  LEM_ASSIGN_OR_RETURN(executable->inner, cpu_.Compile(shadow, segment, bucket));
  return std::unique_ptr<Executable>(std::move(executable));
}

DeviceEvent ShadowDevice::Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) {
  if (until_loss_.load() >= 0 && until_loss_.fetch_sub(1) == 0) lost_.store(true);
  if (lost_.load()) return DeviceEvent::Finished(Unavailable("device lost"));
  submissions_.fetch_add(1);
  std::vector<ValueBinding> values(bindings.values.begin(), bindings.values.end());
  for (ValueBinding& value : values) {
    value.data = reinterpret_cast<float*>(memory_.ShadowOf(reinterpret_cast<const std::byte*>(value.data)));
  }
  Bindings shadow = bindings;
  shadow.values = values;
  shadow.kv_base = memory_.ShadowOf(bindings.kv_base);
  return DeviceEvent::Finished(cpu_.Submit(*static_cast<ShadowExecutable&>(executable).inner, shadow, waits).Wait());
}

}  // namespace lem
