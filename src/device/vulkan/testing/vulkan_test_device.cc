#include "device/vulkan/testing/vulkan_test_device.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "kernels/kernels.h"
#include "tensor/dequantize.h"
#include "tensor/half.h"

// Read by the leak checker: what the validation layer keeps is not ours.
extern "C" const char* __lsan_default_suppressions();   // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "leak:libVkLayer_khronos_validation";
}

namespace lem {
namespace {

constexpr int64_t kGuardFloats = 64;         // before the first row and after the last; keeps 256-byte alignment
constexpr uint32_t kGuardBits = 0x7FA5A5A5;  // a NaN: a kernel that reads a guard spoils its result

float GuardValue() { return std::bit_cast<float>(kGuardBits); }

void Expect(const Status& status) { ASSERT_TRUE(status.ok()) << status.ToString(); }

}  // namespace

VulkanInstanceOptions TestInstanceOptions() {
  VulkanInstanceOptions options = VulkanOptionsFromEnvironment();
  options.validation = true;
  return options;
}

std::shared_ptr<VulkanInstance> TestInstance(std::string& reason) {
  static const Result<std::shared_ptr<VulkanInstance>> instance = VulkanInstance::Create(TestInstanceOptions());
  if (instance.ok()) return *instance;
  reason = instance.status().message();
  return nullptr;
}

std::unique_ptr<VulkanContext> MakeTestContext(const VulkanContextOptions& options, std::string& reason) {
  std::shared_ptr<VulkanInstance> instance = TestInstance(reason);
  if (instance == nullptr) return nullptr;
  for (size_t i = 0; i < instance->devices().size(); ++i) {
    if (!instance->devices()[i].usable()) continue;
    Result<std::unique_ptr<VulkanContext>> context = VulkanContext::Create(instance, i, options);
    if (context.ok()) return std::move(*context);
    reason = context.status().ToString();
    return nullptr;
  }
  reason = "no usable Vulkan device";
  for (const VulkanDeviceInfo& info : instance->devices()) {
    reason += fmt::format("; {}: {}", info.name, fmt::join(info.unmet, ", "));
  }
  return nullptr;
}

void VulkanTest::SetUp() {
  static std::string reason;
  static const std::unique_ptr<VulkanContext> shared = MakeTestContext({}, reason);
  if (shared == nullptr) GTEST_SKIP() << "no Vulkan here: " << reason;
  context_ = shared.get();
  messages_before_ = context_->instance().validation_messages();
}

void VulkanTest::TearDown() {
  if (context_ == nullptr || expect_messages_) return;
  EXPECT_EQ(context_->instance().validation_messages(), messages_before_) << "the validation layer complained";
}

DeviceMatrix::DeviceMatrix(VulkanContext& context, int64_t rows, int64_t cols, std::span<const float> values,
                           int64_t stride)
    : context_(context), rows_(rows), cols_(cols), stride_(stride != 0 ? stride : (cols + 3) / 4 * 4 + 4) {
  before_.assign(static_cast<size_t>(2 * kGuardFloats + rows_ * stride_), GuardValue());
  for (int64_t row = 0; row < rows_ && !values.empty(); ++row) {
    std::copy_n(values.begin() + row * cols_, cols_, before_.begin() + kGuardFloats + row * stride_);
  }
  buffer_ = UploadBytes(context, std::as_bytes(std::span(before_)));
}

DeviceAddress DeviceMatrix::address() const { return buffer_.address() + kGuardFloats * sizeof(float); }

std::vector<float> DeviceMatrix::Read(int64_t num_rows) {
  std::vector<float> now(before_.size());
  Expect(context_.Read(buffer_, 0, std::as_writable_bytes(std::span(now))));
  std::vector<float> out;
  for (int64_t i = 0; i < static_cast<int64_t>(now.size()); ++i) {
    const int64_t place = i - kGuardFloats, row = place / stride_;
    const auto index = static_cast<size_t>(i);
    if (place >= 0 && row < num_rows && place % stride_ < cols_) {
      out.push_back(now[index]);
    } else if (std::bit_cast<uint32_t>(now[index]) != std::bit_cast<uint32_t>(before_[index])) {
      ADD_FAILURE() << "a guard was written: row " << row << ", column " << place % stride_ << ", " << now[index];
      break;
    }
  }
  return out;
}

VulkanBuffer UploadBytes(VulkanContext& context, std::span<const std::byte> bytes) {
  Result<VulkanBuffer> buffer = context.memory().Allocate(VulkanMemoryKind::kDevice, bytes.size());
  LEM_CHECK(buffer.ok()) << buffer.status().ToString();
  const Status written = context.Write(*buffer, 0, bytes);
  LEM_CHECK(written.ok()) << written.ToString();
  return std::move(*buffer);
}

RandomWeights::RandomWeights(DType type, int64_t num_rows, int64_t num_cols, uint32_t seed)
    : dtype(type), rows(num_rows), k(num_cols), row_bytes(*RowBytes(type, static_cast<uint64_t>(num_cols))) {
  std::mt19937 random(seed);
  bytes.resize(static_cast<size_t>(rows) * row_bytes);
  const DTypeInfo& info = GetDTypeInfo(dtype);
  if (info.block_elements == 1) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < bytes.size(); i += info.block_bytes) {
      const float value = normal(random);
      const uint16_t half = dtype == DType::kF16 ? FloatToHalf(value) : FloatToBfloat16(value);
      std::memcpy(&bytes[i], dtype == DType::kF32 ? static_cast<const void*>(&value) : &half, info.block_bytes);
    }
    return;
  }
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  // Where the float16 scales of a block are.
  std::vector<size_t> scales;
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      scales = {0, 2};
      break;
    case DType::kQ2_K:
      scales = {80, 82};
      break;
    case DType::kQ3_K:
      scales = {108};
      break;
    case DType::kQ6_K:
      scales = {208};
      break;
    default:
      scales = {0};
  }
  std::uniform_real_distribution<float> uniform(0.001f, 0.02f);
  for (size_t block = 0; block < bytes.size(); block += info.block_bytes) {
    for (const size_t scale : scales) {
      const uint16_t half = FloatToHalf(uniform(random));
      std::memcpy(&bytes[block + scale], &half, sizeof(half));
    }
  }
}

std::vector<float> RandomWeights::Row(int64_t row) const {
  std::vector<float> out(static_cast<size_t>(k));
  DequantizeRow(dtype, bytes.data() + static_cast<size_t>(row) * row_bytes, out.data(), k);
  return out;
}

std::vector<DType> AllWeightTypes() {
  std::vector<DType> types;
  for (uint32_t id = 0; id < 64; ++id) {
    const DTypeInfo* info = FindDType(id);
    if (info != nullptr && info->is_weight) types.push_back(info->dtype);
  }
  return types;
}

std::vector<float> RandomFloats(int64_t count, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& value : out) value = normal(random);
  return out;
}

double NormalisedError(std::span<const float> found, std::span<const double> expected) {
  if (found.size() != expected.size()) return INFINITY;
  double error = 0, norm = 1e-30;
  for (size_t i = 0; i < found.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - expected[i];
    error += difference * difference;
    norm += expected[i] * expected[i];
  }
  return error / norm;
}

TestStep::TestStep(VulkanContext& context, std::vector<Sequence> sequences, std::vector<int32_t> tokens,
                   std::vector<int32_t> output_rows, size_t block_bytes, int64_t attention_tile_rows,
                   std::vector<std::vector<double>> rope_frequencies, int64_t spare_rows)
    : context_(context), sequences_(std::move(sequences)), tokens_(std::move(tokens)), block_bytes_(block_bytes) {
  int64_t num_rows = 0;
  std::vector<SequenceRows> rows;
  size_t num_blocks = 0;
  for (const Sequence& sequence : sequences_) {
    const int64_t context_tokens = sequence.first_position + sequence.num_rows;
    const auto needed = block_bytes == 0 ? size_t{0} : static_cast<size_t>((context_tokens + 15) / 16);
    block_tables_.emplace_back(needed);
    num_blocks += needed;
    num_rows += sequence.num_rows;
  }
  LEM_CHECK(tokens_.empty() || static_cast<int64_t>(tokens_.size()) == num_rows);
  tokens_.resize(static_cast<size_t>(num_rows));
  // Blocks lie in a random order in one buffer, with room between them.
  const size_t spacing = (block_bytes + 255) / 256 * 256 + 256;
  std::vector<std::byte> cache(num_blocks * spacing, std::byte{0xFF});  // NaNs
  if (num_blocks > 0) cache_ = UploadBytes(context, cache);
  std::vector<int32_t> order(num_blocks);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  size_t next = 0;
  for (std::vector<int32_t>& table : block_tables_) {
    for (int32_t& block : table) block = order[next++];
  }
  for (size_t i = 0; i < num_blocks; ++i) kv_blocks_.push_back(cache_.address() + i * spacing);
  int64_t row_begin = 0;
  for (size_t s = 0; s < sequences_.size(); ++s) {
    if (block_bytes == 0) block_tables_[s].assign(static_cast<size_t>(sequences_[s].first_position / 16 + 64), 0);
    rows.push_back({row_begin, sequences_[s].num_rows, sequences_[s].first_position, block_tables_[s]});
    row_begin += sequences_[s].num_rows;
  }
  shape_.max_tokens = num_rows + spare_rows;
  shape_.max_outputs = static_cast<int64_t>(output_rows.size()) + spare_rows;
  shape_.max_kv_blocks = static_cast<int64_t>(num_blocks) + 4096;
  shape_.attention_tile_rows = attention_tile_rows;
  for (const auto& frequencies : rope_frequencies) {
    shape_.rope_pairs.push_back(static_cast<int64_t>(frequencies.size()));
  }
  layout_ = MakeVulkanStepLayout(shape_);
  Result<VulkanBuffer> memory = context.memory().Allocate(VulkanMemoryKind::kUpload, layout_.bytes);
  LEM_CHECK(memory.ok()) << memory.status().ToString();
  memory_ = std::move(*memory);
  std::vector<DeviceAddress> no_cache{0};
  const VulkanStepInput input{tokens_, rows, output_rows, block_bytes == 0 ? no_cache : kv_blocks_, rope_frequencies};
  const Status written = WriteVulkanStep(shape_, layout_, input, {memory_.host(), layout_.bytes}, memory_.address());
  LEM_CHECK(written.ok()) << written.ToString();
}

size_t TestStep::BlockOffset(size_t sequence, int64_t position) const {
  const auto block = static_cast<size_t>(block_tables_[sequence][static_cast<size_t>(position / kKvBlockTokens)]);
  return kv_blocks_[block] - cache_.address();
}

std::vector<std::byte> TestStep::ReadBlock(size_t sequence, int64_t position) {
  std::vector<std::byte> bytes(block_bytes_);
  Expect(context_.Read(cache_, BlockOffset(sequence, position), bytes));
  return bytes;
}

void TestStep::WriteBlock(size_t sequence, int64_t position, std::span<const std::byte> bytes) {
  Expect(context_.Write(cache_, BlockOffset(sequence, position), bytes));
}

void TestStep::Run(const std::function<void(VulkanRecorder&)>& record) {
  Result<VulkanRecorder> recorder = VulkanRecorder::Begin(context_);
  ASSERT_TRUE(recorder.ok()) << recorder.status().ToString();
  recorder->SetStep(header(), max_tokens(), max_outputs());
  record(*recorder);
  recorder->HostReadBarrier();
  const Result<VulkanCommands> commands = std::move(*recorder).Finish();
  ASSERT_TRUE(commands.ok()) << commands.status().ToString();
  Expect(context_.Run(*commands));
}

}  // namespace lem
