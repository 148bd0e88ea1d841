#include "device/vulkan/vulkan_device.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>

#include "base/check.h"
#include "base/log.h"
#include "device/rope_frequencies.h"
#include "device/vulkan/vulkan_segment.h"
#include "kernels/kernels.h"

namespace lem {
namespace {

// A step reads at most this many KV blocks at first; the tables grow when a step needs more.
constexpr int64_t kFirstKvBlocks = 1024;
// Larger steps wait for the tiled product anyway; below, the matrix-vector kernel is made for the very number of rows.
const std::vector<int64_t> kTokenBuckets = {1, 2, 4, 8, 32};

DeviceCaps CapsOf(const VulkanDeviceInfo& info, size_t idx, bool fp16_products) {
  DeviceCaps caps;
  caps.id = fmt::format("vulkan:{}", idx);
  caps.kind = DeviceKind::kGpu;
  caps.name = info.name;
  caps.driver = fmt::format("{} {}", info.driver_name, info.driver_version);
  caps.emulated = info.emulated;
  // Drivers compile exponentials and divisions as they like, so a class is of one driver and one kind of device.
  const std::string of = fmt::format("{:x}:{:x}:{:x}", info.vendor_id, info.device_id, info.driver_version_number);
  caps.prefill_numerics = fmt::format("vulkan-{}-tiles@{}", fp16_products ? "f16" : "f32", of);
  caps.decode_numerics = fmt::format("vulkan-f32-rows@{}", of);
  caps.weight_layouts = {Layout::kGgufRows};
  caps.token_buckets = kTokenBuckets;
  return caps;
}

std::string DescribeUnmet(const VulkanDeviceInfo& info) {
  return fmt::format("Vulkan: {} lacks {}", info.name, fmt::join(info.unmet, ", "));
}

class VulkanEventState : public DeviceEvent::State {
 public:
  VulkanEventState(VulkanContext& context, VulkanTicket ticket) : context_(context), ticket_(ticket) {}
  Status Wait() override { return context_.Wait(ticket_); }
  const VulkanContext* context() const { return &context_; }
  VulkanTicket ticket() const { return ticket_; }

 private:
  VulkanContext& context_;
  const VulkanTicket ticket_;
};

// Memory for activations inside segments, which executables share: each begins with a barrier behind all that was
// submitted before, so no two of them are at work at once. Thread-safe.
class VulkanScratch {
 public:
  explicit VulkanScratch(VulkanContext& context) : context_(context) {}

  // At least so many bytes. A buffer that was outgrown lives as long as those who have it.
  Result<std::shared_ptr<const VulkanBuffer>> AtLeast(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (current_ == nullptr || current_->bytes() < bytes) {
      LEM_ASSIGN_OR_RETURN(VulkanBuffer buffer, context_.memory().Allocate(VulkanMemoryKind::kDevice, bytes));
      current_ = std::make_shared<const VulkanBuffer>(std::move(buffer));
    }
    return current_;
  }

 private:
  VulkanContext& context_;
  std::mutex mutex_;
  std::shared_ptr<const VulkanBuffer> current_;  // guarded by mutex_
};

// A segment with its memory and its recorded commands. One submission at a time.
class VulkanExecutable : public Executable {
 public:
  VulkanExecutable(VulkanSegment segment, std::vector<std::vector<double>> rope_frequencies, VulkanContext& context,
                   VulkanAddressMap& addresses, VulkanScratch& scratch, TransferLedger::Account& account)
      : segment_(std::move(segment)),
        rope_frequencies_(std::move(rope_frequencies)),
        context_(context),
        addresses_(addresses),
        shared_scratch_(scratch),
        account_(account),
        shape_(segment_.step_shape()) {}

  // Makes memory and compiles pipelines, so that the first submission has little to do.
  Status Prepare() {
    LEM_TRY(MakeStepMemory(segment_.needs_sequences() ? kFirstKvBlocks : 0));
    if (segment_.scratch_bytes() > 0) {
      LEM_ASSIGN_OR_RETURN(scratch_, shared_scratch_.AtLeast(segment_.scratch_bytes()));
    }
    VulkanRecorder collecting = VulkanRecorder::Collecting(context_);
    boundary_.assign(segment_.boundary().size(), kVulkanAlignment);  // any aligned address: nothing is recorded
    Record(collecting);
    boundary_.clear();
    return context_.pipelines().Prepare(collecting.pipelines(), nullptr);
  }

  Result<VulkanTicket> Submit(const Bindings& bindings, std::span<const VulkanTicket> waits) {
    LEM_TRY(ResolveKvBlocks(bindings));
    LEM_TRY(EnsureRecorded(bindings));
    const VulkanStepInput input{
        .tokens = bindings.tokens,
        .sequences = segment_.needs_sequences() ? bindings.sequences : std::span<const SequenceRows>{},
        .output_rows = bindings.output_rows,
        .kv_blocks = kv_addresses_,
        .rope_frequencies = rope_frequencies_};
    LEM_TRY(WriteVulkanStep(shape_, layout_, input, {step_.host(), layout_.bytes}, step_.address()));
    account_.Add(TransferDirection::kToDevice, TransferCause::kStepInputs, StepBytes(bindings));
    return context_.Submit(commands_, waits);
  }

 private:
  Status MakeStepMemory(int64_t max_kv_blocks) {
    shape_.max_kv_blocks = max_kv_blocks;
    layout_ = MakeVulkanStepLayout(shape_);
    LEM_ASSIGN_OR_RETURN(step_, context_.memory().Allocate(VulkanMemoryKind::kUpload, layout_.bytes));
    rope_tables_.clear();
    for (const size_t offset : layout_.ropes) rope_tables_.push_back(step_.address() + offset);
    return OkStatus();
  }

  void Record(VulkanRecorder& recorder) {
    recorder.SetStep(step_.address(), shape_.max_tokens, shape_.max_outputs);
    segment_.Record(
        recorder,
        {.ropes = rope_tables_, .scratch = scratch_ != nullptr ? scratch_->address() : 0, .boundary = boundary_});
  }

  Status ResolveKvBlocks(const Bindings& bindings) {
    num_kv_blocks_ = 0;
    if (!segment_.needs_sequences()) return OkStatus();
    if (kv_base_ != bindings.kv_base) kv_addresses_.clear();
    kv_base_ = bindings.kv_base;
    for (const SequenceRows& sequence : bindings.sequences) {
      const auto needed =
          static_cast<size_t>((sequence.first_position + sequence.num_rows + kKvBlockTokens - 1) / kKvBlockTokens);
      num_kv_blocks_ += static_cast<int64_t>(needed);
      for (const int32_t block : sequence.block_table.first(needed)) {
        const auto idx = static_cast<size_t>(block);
        if (idx >= kv_addresses_.size()) kv_addresses_.resize(idx + 1, 0);
        if (kv_addresses_[idx] != 0) continue;
        LEM_ASSIGN_OR_RETURN(kv_addresses_[idx], addresses_.Resolve(bindings.kv_base + idx * bindings.kv_block_bytes));
      }
    }
    return OkStatus();
  }

  // Records anew when the tables must grow or the values have moved.
  Status EnsureRecorded(const Bindings& bindings) {
    std::vector<DeviceAddress> boundary;
    for (const ValueId value : segment_.boundary()) {
      const auto found = std::ranges::find(bindings.values, value, &ValueBinding::value);
      LEM_CHECK(found != bindings.values.end()) << "value " << value << " crosses the segment and is not bound";
      LEM_ASSIGN_OR_RETURN(boundary.emplace_back(),
                           addresses_.Resolve(reinterpret_cast<const std::byte*>(found->data)));
    }
    const bool grows = num_kv_blocks_ > shape_.max_kv_blocks;
    if (recorded_ && !grows && boundary == boundary_) return OkStatus();
    recorded_ = false;
    commands_ = VulkanCommands();
    if (grows) LEM_TRY(MakeStepMemory(2 * num_kv_blocks_));
    boundary_ = std::move(boundary);
    LEM_ASSIGN_OR_RETURN(VulkanRecorder recorder, VulkanRecorder::Begin(context_));
    Record(recorder);
    LEM_ASSIGN_OR_RETURN(commands_, std::move(recorder).Finish());
    recorded_ = true;
    return OkStatus();
  }

  uint64_t StepBytes(const Bindings& bindings) const {
    uint64_t bytes = sizeof(VulkanStepHeader) + (bindings.tokens.size() + bindings.output_rows.size()) * 4;
    if (!segment_.needs_sequences()) return bytes;
    bytes += bindings.tokens.size() * (sizeof(VulkanStepRow) + sizeof(VulkanAttentionTile));
    bytes += static_cast<uint64_t>(num_kv_blocks_) * sizeof(DeviceAddress);
    for (const int64_t pairs : shape_.rope_pairs) bytes += bindings.tokens.size() * static_cast<uint64_t>(pairs) * 8;
    return bytes;
  }

  const VulkanSegment segment_;
  const std::vector<std::vector<double>> rope_frequencies_;
  VulkanContext& context_;
  VulkanAddressMap& addresses_;
  VulkanScratch& shared_scratch_;
  TransferLedger::Account& account_;
  VulkanStepShape shape_;
  VulkanStepLayout layout_;
  VulkanBuffer step_;
  std::shared_ptr<const VulkanBuffer> scratch_;
  std::vector<DeviceAddress> rope_tables_;
  std::vector<DeviceAddress> boundary_;      // that the commands were recorded with
  const std::byte* kv_base_ = nullptr;       // that kv_addresses_ belongs to
  std::vector<DeviceAddress> kv_addresses_;  // [blocks] 0 = not resolved yet
  int64_t num_kv_blocks_ = 0;                // of this step
  bool recorded_ = false;
  VulkanCommands commands_;  // destroyed before the memory that it uses
};

class VulkanDeviceImpl : public VulkanDevice {
 public:
  VulkanDeviceImpl(std::unique_ptr<VulkanContext> context, DeviceCaps caps, bool share, bool fp16_products,
                   MemoryManager& memory)
      : caps_(std::move(caps)),
        fp16_products_(fp16_products),
        account_(memory.ledger().AccountOf(caps_.id)),
        context_(std::move(context)),
        addresses_(*context_, share, account_),
        scratch_(*context_) {}

  const DeviceCaps& caps() const override { return caps_; }
  DeviceMemory* memory() override { return &addresses_; }
  VulkanContext& context() override { return *context_; }
  void InjectLoss(int64_t submissions) override { context_->InjectDeviceLoss(submissions); }

  Status health() const override {
    return context_->lost() ? Unavailable("device lost: the driver reported it for {}", caps_.name) : OkStatus();
  }

  DeviceTelemetry telemetry() const override {
    const VulkanMemoryUse use = context_->memory().use();
    uint64_t bytes = use.imported_bytes;
    for (const uint64_t committed : use.committed_bytes) bytes += committed;
    return {.submissions = submissions_.load(std::memory_order_relaxed), .memory_bytes = bytes};
  }

  Result<std::unique_ptr<Executable>> Compile(const BoundGraph& model, const Segment& segment,
                                              const ShapeBucket& bucket) override {
    LEM_TRY(health());
    const VulkanSegmentOptions options{.bucket = bucket, .fp16_products = fp16_products_};
    LEM_ASSIGN_OR_RETURN(VulkanSegment compiled, VulkanSegment::Compile(model, segment, options, addresses_));
    LEM_ASSIGN_OR_RETURN(std::vector<std::vector<double>> frequencies, RopeFrequencies(model));
    auto executable = std::make_unique<VulkanExecutable>(std::move(compiled), std::move(frequencies), *context_,
                                                         addresses_, scratch_, account_);
    LEM_TRY(executable->Prepare());
    return std::unique_ptr<Executable>(std::move(executable));
  }

  DeviceEvent Submit(Executable& executable, const Bindings& bindings, std::span<const DeviceEvent> waits) override {
    Result<VulkanTicket> ticket = TrySubmit(static_cast<VulkanExecutable&>(executable), bindings, waits);
    if (!ticket.ok()) return DeviceEvent::Finished(ticket.status());
    submissions_.fetch_add(1, std::memory_order_relaxed);
    return DeviceEvent(std::make_shared<VulkanEventState>(*context_, *ticket));
  }

 private:
  Result<VulkanTicket> TrySubmit(VulkanExecutable& executable, const Bindings& bindings,
                                 std::span<const DeviceEvent> waits) {
    std::vector<VulkanTicket> tickets;
    for (const DeviceEvent& wait : waits) {
      const auto* own = dynamic_cast<const VulkanEventState*>(wait.state());
      if (own != nullptr && own->context() == context_.get()) {
        tickets.push_back(own->ticket());  // the queue waits
      } else {
        LEM_TRY(wait.Wait());
      }
    }
    return executable.Submit(bindings, tickets);
  }

  const DeviceCaps caps_;
  const bool fp16_products_;
  TransferLedger::Account& account_;
  const std::unique_ptr<VulkanContext> context_;
  VulkanAddressMap addresses_;
  VulkanScratch scratch_;
  std::atomic<uint64_t> submissions_{0};
};

// A whole number from 0 to `max`.
std::optional<int64_t> NumberFromEnvironment(const char* name, int64_t max) {
  const char* text = std::getenv(name);
  if (text == nullptr || text[0] == '\0') return std::nullopt;
  const std::string_view view(text);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), number);
  if (error == std::errc() && end == view.data() + view.size() && number >= 0 && number <= max) return number;
  LogWarning("{} is '{}'; allowed: 0 to {}; it is ignored", name, text, max);
  return std::nullopt;
}

}  // namespace

VulkanDeviceOptions VulkanDeviceOptionsFromEnvironment() {
  VulkanDeviceOptions options;
  options.share_host_memory = NumberFromEnvironment("LEM_VULKAN_SHARE", 1).value_or(1) == 1;
  if (const auto fp16 = NumberFromEnvironment("LEM_VULKAN_FP16", 1)) options.fp16_products = *fp16 == 1;
  options.lose_after = NumberFromEnvironment("LEM_VULKAN_LOSE_AFTER", int64_t{1} << 40).value_or(-1);
  return options;
}

VulkanListing ListVulkanDevices() {
  VulkanListing listing;
  const auto instance = VulkanInstance::Create(VulkanOptionsFromEnvironment());
  if (!instance.ok()) {
    listing.missing.push_back(fmt::format("Vulkan: {}", instance.status().message()));
    return listing;
  }
  for (const VulkanDeviceInfo& info : (*instance)->devices()) {
    if (info.usable()) {
      listing.devices.push_back(CapsOf(info, listing.devices.size(), info.fp16_arithmetic && !info.emulated));
    } else {
      listing.missing.push_back(DescribeUnmet(info));
    }
  }
  if ((*instance)->devices().empty()) listing.missing.push_back("Vulkan: the driver offers no device");
  return listing;
}

Result<std::unique_ptr<VulkanDevice>> OpenVulkanDevice(std::string_view id, MemoryManager& memory,
                                                       const VulkanDeviceOptions& options) {
  LEM_ASSIGN_OR_RETURN(std::shared_ptr<VulkanInstance> instance,
                       VulkanInstance::Create(VulkanOptionsFromEnvironment()));
  size_t usable = 0;
  for (size_t i = 0; i < instance->devices().size(); ++i) {
    const VulkanDeviceInfo& info = instance->devices()[i];
    if (!info.usable()) continue;
    if (fmt::format("vulkan:{}", usable++) != id) continue;
    VulkanContextOptions context_options;
    context_options.cache_folder = options.cache_folder;
    context_options.memory.allow_host_import = options.share_host_memory;
    const bool fp16_products = info.fp16_arithmetic && options.fp16_products.value_or(!info.emulated);
    DeviceCaps caps = CapsOf(info, usable - 1, fp16_products);
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<VulkanContext> context,
                         VulkanContext::Create(std::move(instance), i, context_options));
    context->InjectDeviceLoss(options.lose_after);
    const bool share = options.share_host_memory && context->info().shares_memory && context->memory().can_import();
    return std::unique_ptr<VulkanDevice>(
        std::make_unique<VulkanDeviceImpl>(std::move(context), std::move(caps), share, fp16_products, memory));
  }
  return NotFound("there is no device '{}'; the Vulkan driver offers {}", id, usable);
}

}  // namespace lem
