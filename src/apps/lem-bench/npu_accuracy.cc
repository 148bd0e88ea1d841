#include "apps/lem-bench/npu_accuracy.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/file.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/npu/npu_device.h"
#include "device/npu/openvino/openvino_device.h"
#include "device/reference.h"
#include "kernels/kernels.h"
#include "memory/kv_block_pool.h"
#include "models/model.h"

namespace lem {
namespace {

constexpr int64_t kWindow = 512;  // tokens that see each other
constexpr int64_t kChunk = 128;   // of one step

// A whole model on one device, fed one window after another.
class Runner {
 public:
  static Result<std::unique_ptr<Runner>> Create(Device& device, const BoundGraph& model, MemoryManager& memory) {
    std::unique_ptr<Runner> runner(new Runner(device, model));
    const Segment all{0, static_cast<int32_t>(model.graph->ops.size())};
    LEM_ASSIGN_OR_RETURN(runner->executable_, device.Compile(model, all, {kChunk, kChunk, Phase::kPrefill}));
    const int64_t blocks = kWindow / kKvBlockTokens;
    LEM_ASSIGN_OR_RETURN(runner->kv_,
                         KvBlockPool::Create(memory, MakeKvBlockLayout(model.graph->kv).block_bytes, blocks));
    for (int64_t i = 0; i < blocks; ++i) runner->blocks_.push_back(*runner->kv_->Allocate());
    for (int32_t i = 0; i < kChunk; ++i) runner->output_rows_.push_back(i);
    runner->logits_.resize(static_cast<size_t>(kChunk * model.graph->vocab_size));
    return runner;
  }

  // Logits of every row, valid until the next call.
  Result<std::span<const float>> Step(std::span<const int32_t> tokens, int64_t first_position) {
    const auto num_rows = static_cast<int64_t>(tokens.size());
    const SequenceRows rows[] = {{0, num_rows, first_position, blocks_}};
    const ValueBinding values[] = {{model_.graph->logits, logits_.data()}};
    LEM_TRY(device_
                .Submit(*executable_,
                        {tokens, rows, std::span(output_rows_).first(tokens.size()), kv_->base(), kv_->block_bytes(),
                         values},
                        {})
                .Wait());
    return std::span<const float>(logits_).first(tokens.size() * static_cast<size_t>(model_.graph->vocab_size));
  }

 private:
  Runner(Device& device, const BoundGraph& model) : device_(device), model_(model) {}
  Device& device_;
  const BoundGraph model_;
  std::unique_ptr<Executable> executable_;
  std::unique_ptr<KvBlockPool> kv_;
  std::vector<BlockId> blocks_;
  std::vector<int32_t> output_rows_;
  std::vector<float> logits_;
};

struct Sums {
  double error = 0, squares = 0;

  void Add(std::span<const float> found, std::span<const float> expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto difference = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
      error += difference * difference;
      squares += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
    }
  }
};

struct Golden {
  std::vector<int32_t> tokens;  // prompt, then the greedy answer
  size_t num_prompt = 0;
};

Result<std::vector<Golden>> ReadGolden(const std::filesystem::path& path, int64_t vocab_size) {
  LEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  LEM_ASSIGN_OR_RETURN(const JsonValue document, ParseJson(text));
  std::vector<Golden> cases;
  const JsonValue* list = document.is_object() ? document.get_object().if_contains("cases") : nullptr;
  if (list == nullptr || !list->is_array()) return InvalidArgument("{} has no list 'cases'", path.string());
  for (const JsonValue& json : list->get_array()) {
    Golden& golden = cases.emplace_back();
    for (const char* key : {"prompt_ids", "greedy_ids"}) {
      const JsonValue* ids = json.is_object() ? json.get_object().if_contains(key) : nullptr;
      if (ids == nullptr || !ids->is_array()) return InvalidArgument("a case of {} has no '{}'", path.string(), key);
      for (const JsonValue& id : ids->get_array()) {
        if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= vocab_size) {
          return InvalidArgument("a token of {} is not of this model's {}", path.string(), vocab_size);
        }
        golden.tokens.push_back(static_cast<int32_t>(id.get_int64()));
      }
      if (golden.num_prompt == 0) golden.num_prompt = golden.tokens.size();
    }
    if (golden.num_prompt == 0 || golden.tokens.size() > static_cast<size_t>(kWindow)) {
      return InvalidArgument("a case of {} has {} tokens; allowed: 1 to {}", path.string(), golden.tokens.size(),
                             kWindow);
    }
  }
  return cases;
}

class Measurement {
 public:
  explicit Measurement(const NpuAccuracyOptions& options)
      : options_(options), pool_(options.num_threads), kernels_(BestKernelTable()) {}

  Result<NpuAccuracyReport> Run() {
    LEM_ASSIGN_OR_RETURN(memory_, MemoryManager::Create());
    LEM_ASSIGN_OR_RETURN(model_, LoadModel(options_.model));
    bound_ = {&model_->graph, model_->bound_weights, &model_->weights};
    cpu_ = MakeCpuDevice(pool_, kernels_, memory_.get());
    LEM_ASSIGN_OR_RETURN(runners_.emplace_back(), Runner::Create(*cpu_, bound_, *memory_));
    for (const NpuPrecisionMode mode : options_.modes) {
      LEM_ASSIGN_OR_RETURN(devices_.emplace_back(), OpenDevice({mode, options_.scale_group}));
      report_.device_name = devices_.back()->caps().name;
      report_.emulated = devices_.back()->caps().emulated;
      LEM_ASSIGN_OR_RETURN(runners_.emplace_back(), Runner::Create(*devices_.back(), bound_, *memory_));
      report_.modes.push_back({.mode = mode});
    }
    nll_.assign(runners_.size(), 0.0);
    sums_.resize(runners_.size());
    if (options_.text.empty() && options_.golden.empty()) return InvalidArgument("there is nothing to measure");
    if (!options_.text.empty()) LEM_TRY(RunText());
    if (!options_.golden.empty()) LEM_TRY(RunGolden());
    LEM_TRY(Finish());
    return std::move(report_);
  }

 private:
  size_t vocab() const { return static_cast<size_t>(model_->graph.vocab_size); }

  double LogProbability(std::span<const float> logits, int32_t token) const {
    return static_cast<double>(logits[static_cast<size_t>(token)] -
                               kernels_.log_sum_exp(logits.data(), static_cast<int64_t>(logits.size())));
  }

  Result<std::unique_ptr<Device>> OpenDevice(const NpuCompileOptions& compile) {
    if (options_.device == "npu-emu") {
      LEM_ASSIGN_OR_RETURN(std::unique_ptr<Device> device,
                           MakeNpuEmulatedDevice({options_.generation, compile}, pool_, kernels_, *memory_));
      return device;
    }
    if (options_.device != "npu-openvino") {
      return InvalidArgument("'{}' is no NPU; allowed: npu-emu, npu-openvino", options_.device);
    }
    OpenVinoOptions openvino = OpenVinoOptionsFromEnvironment();
    openvino.compile = compile;
    LEM_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, MakeOpenVinoDevice(openvino, pool_, kernels_, *memory_));
    return device;
  }

  // Runs tokens that see each other on every runner, chunk by chunk; then calls visit(runner, position, logits).
  template <typename Visit>
  Status RunWindow(std::span<const int32_t> tokens, Visit visit) {
    for (size_t begin = 0; begin < tokens.size(); begin += kChunk) {
      const auto chunk = tokens.subspan(begin, std::min<size_t>(kChunk, tokens.size() - begin));
      std::span<const float> expected;
      for (size_t r = 0; r < runners_.size(); ++r) {
        LEM_ASSIGN_OR_RETURN(const std::span<const float> logits,
                             runners_[r]->Step(chunk, static_cast<int64_t>(begin)));
        if (r == 0) expected = logits;
        sums_[r].Add(logits, expected);
        for (size_t i = 0; i < chunk.size(); ++i) visit(r, begin + i, logits.subspan(i * vocab(), vocab()));
      }
    }
    return OkStatus();
  }

  Status RunText() {
    LEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(options_.text));
    std::vector<int32_t> all = model_->tokenizer->Encode(text, SpecialTokens::kAsText, AddSpecial::kNone);
    if (options_.max_tokens > 0 && all.size() > static_cast<size_t>(options_.max_tokens)) {
      all.resize(static_cast<size_t>(options_.max_tokens));
    }
    if (options_.reference_tokens > 0) LEM_TRY(CompareWithReference(all));
    for (size_t begin = 0; begin + 1 < all.size(); begin += kWindow) {
      const auto window = std::span(all).subspan(begin, std::min<size_t>(kWindow, all.size() - begin));
      LEM_TRY(RunWindow(window, [&](size_t runner, size_t position, std::span<const float> logits) {
        if (position + 1 < window.size()) nll_[runner] -= LogProbability(logits, window[position + 1]);
      }));
      report_.num_tokens += static_cast<int64_t>(window.size()) - 1;
    }
    return OkStatus();
  }

  Status CompareWithReference(std::span<const int32_t> all) {
    const auto few =
        all.first(std::min({all.size(), static_cast<size_t>(options_.reference_tokens), static_cast<size_t>(kChunk)}));
    const std::vector<float> expected = RunReference(bound_, few);
    LEM_ASSIGN_OR_RETURN(const std::span<const float> found, runners_[0]->Step(few, 0));
    Sums sums;
    sums.Add(found, expected);
    report_.cpu_error = sums.error / sums.squares;
    return OkStatus();
  }

  Status RunGolden() {
    LEM_ASSIGN_OR_RETURN(const std::vector<Golden> cases, ReadGolden(options_.golden, model_->graph.vocab_size));
    for (const Golden& golden : cases) {
      report_.num_greedy += static_cast<int64_t>(golden.tokens.size() - golden.num_prompt);
      LEM_TRY(RunWindow(golden.tokens, [&](size_t runner, size_t position, std::span<const float> logits) {
        if (position + 1 < golden.num_prompt || position + 1 >= golden.tokens.size()) return;
        const bool agreed =
            kernels_.argmax(logits.data(), static_cast<int64_t>(vocab())) == golden.tokens[position + 1];
        (runner == 0 ? report_.greedy_agreed : report_.modes[runner - 1].greedy_agreed) += agreed ? 1 : 0;
      }));
    }
    return OkStatus();
  }

  Status Finish() {
    const auto perplexity = [&](size_t runner) {
      return report_.num_tokens == 0 ? 0.0 : std::exp(nll_[runner] / static_cast<double>(report_.num_tokens));
    };
    report_.perplexity = perplexity(0);
    LEM_ASSIGN_OR_RETURN(const NpuGeneration* generation, FindNpuGeneration(options_.generation));
    std::vector<DType> types;
    for (const WeightHandle handle : bound_.weights) types.push_back(model_->weights.desc(handle).dtype);
    for (size_t i = 0; i < report_.modes.size(); ++i) {
      NpuAccuracyResult& result = report_.modes[i];
      result.logits_error = sums_[i + 1].error / sums_[i + 1].squares;
      result.perplexity = perplexity(i + 1);
      const DeviceTelemetry telemetry = devices_[i]->telemetry();
      result.busy_seconds = telemetry.busy_seconds;
      result.joules = telemetry.energy_joules;
      const Segment all{0, static_cast<int32_t>(model_->graph.ops.size())};
      LEM_ASSIGN_OR_RETURN(const StaticGraph graph,
                           PlanStaticGraph(*generation, model_->graph, all, 1, 1,
                                           {.compile = {result.mode, options_.scale_group}, .weight_types = types}));
      for (size_t p = 0; p < kNumNpuPrecisions; ++p) result.shares[p] = graph.ShareOf(static_cast<NpuPrecision>(p));
    }
    return OkStatus();
  }

  const NpuAccuracyOptions options_;
  ThreadPool pool_;
  const KernelTable& kernels_;
  std::unique_ptr<MemoryManager> memory_;
  std::unique_ptr<Model> model_;
  BoundGraph bound_;
  std::unique_ptr<Device> cpu_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<std::unique_ptr<Runner>> runners_;  // the CPU's first
  std::vector<double> nll_;                       // [runners] nats
  std::vector<Sums> sums_;                        // [runners]
  NpuAccuracyReport report_;
};

}  // namespace

Result<NpuAccuracyReport> MeasureNpuAccuracy(const NpuAccuracyOptions& options) { return Measurement(options).Run(); }

}  // namespace lem
