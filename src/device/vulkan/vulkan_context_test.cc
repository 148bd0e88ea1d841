// What surrounds the kernels: the loader and its reasons, memory, imports, submissions, the pipeline cache, lost
// devices, and that the validation layer really listens.
#include "device/vulkan/vulkan_context.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <fstream>
#include <set>

#include "base/file.h"
#include "device/vulkan/testing/vulkan_test_device.h"

namespace lem {
namespace {

// Runs everywhere, also without a driver.
TEST(VulkanInstanceTest, SaysWhyThereIsNoDevice) {
  const auto without_loader = VulkanInstance::Create({.library = "libvulkan-that-is-not-there.so.1"});
  ASSERT_FALSE(without_loader.ok());
  EXPECT_EQ(without_loader.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(without_loader.status().message().find("libvulkan-that-is-not-there"), std::string::npos);

  const auto not_a_loader = VulkanInstance::Create({.library = "libc.so.6"});
  ASSERT_FALSE(not_a_loader.ok());
  EXPECT_NE(not_a_loader.status().message().find("not a Vulkan loader"), std::string::npos);

  std::string reason;
  if (MakeTestContext({}, reason) == nullptr) {
    EXPECT_FALSE(reason.empty());
    std::cout << "no Vulkan here: " << reason << "\n";
  }
}

TEST(VulkanInstanceTest, DescribesEveryDeviceOnce) {
  std::string reason;
  const std::shared_ptr<VulkanInstance> instance = TestInstance(reason);
  if (instance == nullptr) GTEST_SKIP() << "no Vulkan here: " << reason;
  std::set<std::string> uuids;
  for (const VulkanDeviceInfo& info : instance->devices()) {
    EXPECT_FALSE(info.name.empty());
    if (!info.usable()) continue;
    EXPECT_TRUE(uuids.insert(info.UuidHex()).second) << info.name << " is listed twice";
    EXPECT_FALSE(info.driver_name.empty());
    EXPECT_GE(info.subgroup_size, 1u);
    EXPECT_GT(info.device_local_bytes, 0u);
    EXPECT_EQ(info.emulated, info.name.find("llvmpipe") != std::string::npos) << info.name;
  }
}

TEST(VulkanStatusTest, NamesTheCallAndTheResult) {
  EXPECT_TRUE(VulkanStatus(VK_SUCCESS, "vkX").ok());
  EXPECT_EQ(VulkanStatus(VK_ERROR_OUT_OF_DEVICE_MEMORY, "vkX").code(), StatusCode::kResourceExhausted);
  const Status lost = VulkanStatus(VK_ERROR_DEVICE_LOST, "vkX");
  EXPECT_EQ(lost.code(), StatusCode::kUnavailable);
  EXPECT_EQ(lost.message(), "device lost: vkX answered VK_ERROR_DEVICE_LOST");
  EXPECT_NE(VulkanStatus(static_cast<VkResult>(-12345), "vkX").message().find("-12345"), std::string::npos);
}

class VulkanContextTest : public VulkanTest {
 protected:
  static std::vector<std::byte> Pattern(size_t bytes, int seed) {
    std::vector<std::byte> out(bytes);
    for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 31 + static_cast<size_t>(seed));
    return out;
  }
  static std::unique_ptr<VulkanContext> Open(const VulkanContextOptions& options) {
    std::string reason;
    auto context = MakeTestContext(options, reason);
    EXPECT_NE(context, nullptr) << reason;
    return context;
  }
};

// The zero of all other tests means something.
TEST_F(VulkanContextTest, ValidationCatchesAPlantedMistake) {
  if (!context().instance().validation_enabled()) GTEST_SKIP() << "the validation layer is not installed";
  expect_messages_ = true;
  Result<VulkanBuffer> buffer = context().memory().Allocate(VulkanMemoryKind::kDevice, 4096);
  ASSERT_TRUE(buffer.ok());
  Result<VulkanRecorder> recorder = VulkanRecorder::Begin(context());
  ASSERT_TRUE(recorder.ok());
  // Two writes of the same bytes with nothing between them: only the synchronisation checks see this.
  recorder->Fill(*buffer, 0, 1024, 1);
  recorder->Fill(*buffer, 0, 1024, 2);
  const Result<VulkanCommands> commands = std::move(*recorder).Finish();
  ASSERT_TRUE(commands.ok());
  EXPECT_GT(context().instance().validation_messages(), messages_before_);

  const int64_t before = context().instance().validation_messages();
  Result<VulkanRecorder> correct = VulkanRecorder::Begin(context());
  ASSERT_TRUE(correct.ok());
  correct->Fill(*buffer, 0, 1024, 1);
  correct->Barrier();
  correct->Fill(*buffer, 0, 1024, 2);
  const Result<VulkanCommands> correct_commands = std::move(*correct).Finish();
  ASSERT_TRUE(correct_commands.ok());
  EXPECT_EQ(context().instance().validation_messages(), before);
}

TEST_F(VulkanContextTest, MemoryIsCutAndJoined) {
  const auto own = Open({.memory = {.block_bytes = 1 << 20}});
  ASSERT_NE(own, nullptr);
  VulkanMemory& memory = own->memory();
  {
    std::vector<VulkanBuffer> pieces;
    std::set<DeviceAddress> addresses;
    for (const size_t bytes : {1, 255, 256, 257, 5000}) {
      Result<VulkanBuffer> piece = memory.Allocate(VulkanMemoryKind::kDevice, bytes);
      ASSERT_TRUE(piece.ok()) << piece.status().ToString();
      EXPECT_EQ(piece->address() % kVulkanAlignment, 0u);
      EXPECT_EQ(piece->bytes(), bytes);
      EXPECT_TRUE(addresses.insert(piece->address()).second);
      pieces.push_back(std::move(*piece));
    }
    EXPECT_EQ(memory.use().committed_bytes[0], uint64_t{1} << 20);
    // Pieces given back in another order become one range again: the next large piece fits beside what is left.
    pieces.erase(pieces.begin() + 1);
    pieces.erase(pieces.begin() + 2);
    pieces.erase(pieces.begin());
    Result<VulkanBuffer> large = memory.Allocate(VulkanMemoryKind::kDevice, 900 << 10);
    ASSERT_TRUE(large.ok());
    EXPECT_EQ(memory.use().committed_bytes[0], uint64_t{1} << 20);
    // One larger than a block gets its own.
    Result<VulkanBuffer> own_block = memory.Allocate(VulkanMemoryKind::kDevice, 3 << 20);
    ASSERT_TRUE(own_block.ok());
    EXPECT_GE(memory.use().committed_bytes[0], uint64_t{4} << 20);
  }
  EXPECT_EQ(memory.use().committed_bytes[0], 0u);
  EXPECT_EQ(memory.use().used_bytes[0], 0u);
}

TEST_F(VulkanContextTest, BudgetAndLimitsAreErrors) {
  const auto own = Open({.memory = {.device_budget_bytes = 1 << 20, .block_bytes = 1 << 19}});
  ASSERT_NE(own, nullptr);
  Result<VulkanBuffer> half = own->memory().Allocate(VulkanMemoryKind::kDevice, 600 << 10);
  ASSERT_TRUE(half.ok());
  Result<VulkanBuffer> more = own->memory().Allocate(VulkanMemoryKind::kDevice, 600 << 10);
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.status().code(), StatusCode::kResourceExhausted);
  // A whole block no longer fits, the piece does.
  EXPECT_TRUE(own->memory().Allocate(VulkanMemoryKind::kDevice, 300 << 10).ok());
  const auto too_large = own->memory().Allocate(VulkanMemoryKind::kUpload, SIZE_MAX - 100);
  ASSERT_FALSE(too_large.ok());
  EXPECT_EQ(too_large.status().code(), StatusCode::kResourceExhausted);
}

TEST_F(VulkanContextTest, WritesCopiesAndReads) {
  const std::vector<std::byte> bytes = Pattern(100000, 3);
  for (const VulkanMemoryKind kind :
       {VulkanMemoryKind::kDevice, VulkanMemoryKind::kUpload, VulkanMemoryKind::kReadback}) {
    Result<VulkanBuffer> from = context().memory().Allocate(kind, bytes.size());
    Result<VulkanBuffer> to = context().memory().Allocate(VulkanMemoryKind::kReadback, bytes.size());
    ASSERT_TRUE(from.ok() && to.ok());
    ASSERT_TRUE(context().Write(*from, 0, bytes).ok());
    Result<VulkanRecorder> recorder = VulkanRecorder::Begin(context());
    ASSERT_TRUE(recorder.ok());
    recorder->Fill(*to, 0, 100000, 0xFFFFFFFF);
    recorder->Barrier();
    recorder->Copy(*from, 10, *to, 20, 5000);
    recorder->HostReadBarrier();
    const Result<VulkanCommands> commands = std::move(*recorder).Finish();
    ASSERT_TRUE(commands.ok());
    for (int round = 0; round < 2; ++round) ASSERT_TRUE(context().Run(*commands).ok());  // recorded once
    std::vector<std::byte> found(6000);
    ASSERT_TRUE(context().Read(*to, 0, found).ok());
    EXPECT_TRUE(std::equal(found.begin() + 20, found.begin() + 5020, bytes.begin() + 10));
    EXPECT_EQ(found[19], std::byte{0xFF});
    EXPECT_EQ(found[5020], std::byte{0xFF});
  }
}

TEST_F(VulkanContextTest, TransferQueueAndTicketsInOrder) {
  Result<VulkanBuffer> a = context().memory().Allocate(VulkanMemoryKind::kDevice, 1024);
  Result<VulkanBuffer> b = context().memory().Allocate(VulkanMemoryKind::kReadback, 1024);
  ASSERT_TRUE(a.ok() && b.ok());
  const auto record = [&](VulkanQueueKind queue, const auto& body) {
    Result<VulkanRecorder> recorder = VulkanRecorder::Begin(context(), queue);
    EXPECT_TRUE(recorder.ok());
    body(*recorder);
    recorder->HostReadBarrier();
    return std::move(*recorder).Finish();
  };
  const auto fill =
      record(VulkanQueueKind::kCompute, [&](VulkanRecorder& recorder) { recorder.Fill(*a, 0, 1024, 0x01020304); });
  const auto copy =
      record(VulkanQueueKind::kTransfer, [&](VulkanRecorder& recorder) { recorder.Copy(*a, 0, *b, 0, 1024); });
  ASSERT_TRUE(fill.ok() && copy.ok());
  const Result<VulkanTicket> filled = context().Submit(*fill);
  ASSERT_TRUE(filled.ok());
  const VulkanTicket waits[] = {*filled};
  const Result<VulkanTicket> copied = context().Submit(*copy, waits);
  ASSERT_TRUE(copied.ok());
  ASSERT_TRUE(context().Wait(*copied).ok());
  EXPECT_TRUE(context().IsDone(*filled) && context().IsDone(*copied));
  EXPECT_EQ(b->host()[1000], std::byte{0x04});
  // A submission that was never made is never done.
  const VulkanTicket future{VulkanQueueKind::kTransfer, copied->value + 10};
  EXPECT_FALSE(context().IsDone(future));
  EXPECT_EQ(context().Wait(future, std::chrono::milliseconds(5)).code(), StatusCode::kDeadlineExceeded);
}

TEST_F(VulkanContextTest, HostMemoryIsUsedInPlace) {
  if (!context().memory().can_import()) GTEST_SKIP() << "no VK_EXT_external_memory_host here";
  constexpr size_t kPage = 4096, kBytes = 3 * kPage;
  void* map = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(map, MAP_FAILED);
  auto* host = static_cast<std::byte*>(map);
  const uint64_t before = context().memory().use().imported_bytes;
  {
    // Not at a page's start: the range is widened.
    Result<VulkanBuffer> imported = context().memory().Import({host + 100, 5000});
    ASSERT_TRUE(imported.ok()) << imported.status().ToString();
    EXPECT_EQ(imported->host(), host + 100);
    EXPECT_EQ(imported->bytes(), 5000u);
    EXPECT_EQ(context().memory().use().imported_bytes, before + 2 * kPage);
    Result<VulkanRecorder> recorder = VulkanRecorder::Begin(context());
    ASSERT_TRUE(recorder.ok());
    recorder->Fill(*imported, 0, 4000, 0x55555555);
    recorder->HostReadBarrier();
    const Result<VulkanCommands> commands = std::move(*recorder).Finish();
    ASSERT_TRUE(commands.ok());
    ASSERT_TRUE(context().Run(*commands).ok());
    EXPECT_EQ(host[99], std::byte{0});
    EXPECT_EQ(host[100], std::byte{0x55});
    EXPECT_EQ(host[4099], std::byte{0x55});
    EXPECT_EQ(host[4100], std::byte{0});
  }
  EXPECT_EQ(context().memory().use().imported_bytes, before);
  ::munmap(map, kBytes);

  const auto without = Open({.memory = {.allow_host_import = false}});
  ASSERT_NE(without, nullptr);
  std::vector<std::byte> bytes(8192);
  const auto refused = without->memory().Import(bytes);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kUnimplemented);
}

TEST_F(VulkanContextTest, ALostDeviceIsAnErrorEverywhere) {
  const auto own = Open({});
  ASSERT_NE(own, nullptr);
  Result<VulkanBuffer> buffer = own->memory().Allocate(VulkanMemoryKind::kDevice, 1024);
  ASSERT_TRUE(buffer.ok());
  Result<VulkanRecorder> recorder = VulkanRecorder::Begin(*own);
  ASSERT_TRUE(recorder.ok());
  recorder->Fill(*buffer, 0, 1024, 7);
  const Result<VulkanCommands> commands = std::move(*recorder).Finish();
  ASSERT_TRUE(commands.ok());
  own->InjectDeviceLoss(1);
  const Result<VulkanTicket> first = own->Submit(*commands);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(own->Wait(*first).ok());
  EXPECT_FALSE(own->lost());
  const Result<VulkanTicket> second = own->Submit(*commands);
  ASSERT_FALSE(second.ok());
  EXPECT_TRUE(own->lost());
  std::byte bytes[4];
  for (const Status& status : {second.status(), own->Submit(*commands).status(), own->Wait(*first),
                               own->Read(*buffer, 0, bytes), own->Write(*buffer, 0, bytes)}) {
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_NE(status.message().find("device lost"), std::string::npos) << status.message();
  }
  EXPECT_FALSE(own->IsDone(*first));
}

// --- pipelines ---

VulkanPipelineKey AddKey(uint32_t workgroup) {
  VulkanPipelineKey key;
  key.shader = VulkanShader::kRope;
  key.constants[0] = workgroup;
  return key;
}

class VulkanPipelineCacheTest : public VulkanContextTest {
 protected:
  void SetUp() override {
    VulkanContextTest::SetUp();
    folder_ = std::filesystem::path(testing::TempDir()) / "lem-vulkan-cache";
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override {
    std::filesystem::remove_all(folder_);
    VulkanContextTest::TearDown();
  }
  // Opens a context on the folder, makes a pipeline, and closes it; returns whether the file was used.
  bool LoadsCache() {
    const auto own = Open({.cache_folder = folder_});
    file_ = own->pipelines().cache_file();
    EXPECT_TRUE(own->pipelines().Get(AddKey(64)).ok());
    return own->pipelines().cache_was_loaded();
  }
  std::filesystem::path folder_, file_;
};

TEST_F(VulkanPipelineCacheTest, IsKeptBetweenRuns) {
  EXPECT_FALSE(LoadsCache());
  ASSERT_TRUE(std::filesystem::exists(file_)) << file_;
  EXPECT_NE(file_.filename().string().find(context().info().UuidHex()), std::string::npos);
  EXPECT_TRUE(LoadsCache());
}

TEST_F(VulkanPipelineCacheTest, DamageIsIgnored) {
  EXPECT_FALSE(LoadsCache());
  const std::string good = ReadFile(file_).value();
  std::string flipped = good;
  flipped[good.size() - 1] = static_cast<char>(flipped[good.size() - 1] ^ 1);
  for (const std::string& damaged :
       {flipped, good.substr(0, good.size() / 2), good.substr(0, 5), std::string(), std::string(4096, 'x')}) {
    ASSERT_TRUE(WriteFileAtomic(file_, damaged).ok());
    EXPECT_FALSE(LoadsCache()) << damaged.size() << " bytes";
    EXPECT_EQ(ReadFile(file_).value().size(), good.size());  // written anew
  }
}

TEST_F(VulkanPipelineCacheTest, AFolderThatCannotBeWrittenIsNoError) {
  std::ofstream(folder_) << "a file where the folder should be";
  EXPECT_FALSE(LoadsCache());
}

TEST_F(VulkanContextTest, PipelinesAreMadeOnceAndAhead) {
  const auto own = Open({});
  ASSERT_NE(own, nullptr);
  VulkanRecorder collecting = VulkanRecorder::Collecting(*own);
  collecting.SetStep(0, 4, 4);
  const VulkanRope rope{.in_stride = 64, .out_stride = 64, .num_heads = 2, .head_dim = 32, .rotary_dim = 32};
  RecordRope(collecting, rope);
  RecordRope(collecting, rope);
  ASSERT_EQ(collecting.pipelines().size(), 1u);
  EXPECT_EQ(own->pipelines().num_pipelines(), 0u);
  std::vector<std::pair<size_t, size_t>> progress;
  ASSERT_TRUE(own->pipelines()
                  .Prepare(collecting.pipelines(), [&](size_t done, size_t all) { progress.emplace_back(done, all); })
                  .ok());
  EXPECT_EQ(progress, (std::vector<std::pair<size_t, size_t>>{{1, 1}}));
  EXPECT_EQ(own->pipelines().num_pipelines(), 1u);
  EXPECT_EQ(own->pipelines().Get(collecting.pipelines()[0]).value(),
            own->pipelines().Get(collecting.pipelines()[0]).value());
  EXPECT_EQ(own->pipelines().num_pipelines(), 1u);
}

TEST_F(VulkanContextTest, SubgroupSizesThatTheDeviceLacksAreRefused) {
  std::string reason;
  EXPECT_EQ(MakeTestContext({.required_subgroup_size = 3}, reason), nullptr);
  EXPECT_NE(reason.find("subgroups of 3"), std::string::npos) << reason;
}

}  // namespace
}  // namespace lem
