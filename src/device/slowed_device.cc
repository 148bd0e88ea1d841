#include "device/slowed_device.h"

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "base/log.h"

namespace lem {
namespace {

using Clock = std::chrono::steady_clock;

// Ends as much later as the work took, times what the device is slower.
class SlowedState : public DeviceEvent::State {
 public:
  SlowedState(DeviceEvent event, Clock::time_point begin, double extra)
      : event_(std::move(event)), begin_(begin), extra_(extra) {}
  Status Wait() override {
    const Status status = event_.Wait();
    std::call_once(delayed_, [this] { std::this_thread::sleep_for(extra_ * (Clock::now() - begin_)); });
    return status;
  }

 private:
  const DeviceEvent event_;
  const Clock::time_point begin_;
  const double extra_;
  std::once_flag delayed_;
};

class SlowedDevice : public Device {
 public:
  SlowedDevice(std::unique_ptr<Device> device, const SlowDown& slow_down)
      : device_(std::move(device)), slow_down_(slow_down) {}

  const DeviceCaps& caps() const override { return device_->caps(); }
  DeviceMemory* memory() override { return device_->memory(); }
  Status health() const override { return device_->health(); }
  DeviceTelemetry telemetry() const override { return device_->telemetry(); }
  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket& bucket) override {
    return device_->Compile(model, segment, bucket);
  }
  DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) override {
    // Waiting for others is no work of its own.
    for (const DeviceEvent& wait : waits) {
      if (Status status = wait.Wait(); !status.ok()) return DeviceEvent::Finished(std::move(status));
    }
    const Clock::time_point begin = Clock::now();
    DeviceEvent event = device_->Submit(executable, bindings, {});
    const int64_t idx = submissions_.fetch_add(1) - slow_down_.after;
    if (idx < 0 || (slow_down_.submissions >= 0 && idx >= slow_down_.submissions)) return event;
    auto state = std::make_shared<SlowedState>(event, begin, slow_down_.factor - 1);
    if (event.state() == nullptr) return DeviceEvent::Finished(state->Wait());
    return DeviceEvent(std::move(state));
  }

 private:
  const std::unique_ptr<Device> device_;
  const SlowDown slow_down_;
  std::atomic<int64_t> submissions_{0};
};

template <typename Number>
bool ReadNumber(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<SlowDown> ParseSlowDown(std::string_view text) {
  SlowDown slow_down;
  const size_t equals = text.find('=');
  std::string_view factor = equals == std::string_view::npos ? "" : text.substr(equals + 1), after, count;
  if (const size_t at = factor.find('@'); at != std::string_view::npos) {
    after = factor.substr(at + 1);
    factor = factor.substr(0, at);
  }
  if (const size_t plus = after.find('+'); plus != std::string_view::npos) {
    count = after.substr(plus + 1);
    after = after.substr(0, plus);
  }
  slow_down.device_id = text.substr(0, equals);
  constexpr double kMaxFactor = 1000;
  const bool right = ReadNumber(factor, slow_down.factor) && slow_down.factor >= 1 && slow_down.factor <= kMaxFactor &&
                     (after.empty() || (ReadNumber(after, slow_down.after) && slow_down.after >= 0)) &&
                     (count.empty() || (ReadNumber(count, slow_down.submissions) && slow_down.submissions >= 0));
  if (!slow_down.device_id.empty() && right) return slow_down;
  return InvalidArgument(
      "\"{}\" is no slow-down; it is DEVICE=FACTOR[@AFTER[+COUNT]] with a factor from 1 to {} and whole numbers of "
      "submissions, such as \"vulkan:0=8@100+50\"",
      text, kMaxFactor);
}

std::optional<SlowDown> SlowDownFromEnvironment() {
  const char* text = std::getenv("LEM_SLOW_DOWN");
  if (text == nullptr || text[0] == '\0') return std::nullopt;
  Result<SlowDown> slow_down = ParseSlowDown(text);
  if (slow_down.ok()) return std::move(*slow_down);
  LogWarning("LEM_SLOW_DOWN is ignored: {}", slow_down.status().message());
  return std::nullopt;
}

std::unique_ptr<Device> MakeSlowedDevice(std::unique_ptr<Device> device, const SlowDown& slow_down) {
  return std::make_unique<SlowedDevice>(std::move(device), slow_down);
}

}  // namespace lem
