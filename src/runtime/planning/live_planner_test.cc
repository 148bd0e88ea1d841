// The live planner over an engine with two devices, of which the profile says that "far" is four times as fast. What
// steps took is made up, so nothing here depends on how fast anything is.
#include "runtime/planning/live_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/thread_pool.h"
#include "device/cpu/cpu_device.h"
#include "device/testing/shadow_device.h"
#include "models/testing/tiny_model.h"
#include "telemetry/recorded_tree.h"

namespace lem {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class NoSink : public EventSink {
 public:
  void Emit(Event) override {}
};

DeviceProfile DeviceOfSpeed(const std::string& id, const std::string& kind, double speed) {
  DeviceProfile device;
  device.id = id;
  device.kind = kind;
  device.gemm = {{"", {{1, 0.001 * speed}, {256, 0.01 * speed}}}};
  device.bandwidth_gbs = speed;
  device.launch_us = 1;
  return device;
}

MeasuredMachine TwoDevices() {
  MeasuredMachine machine;
  machine.profile.id = "test";
  machine.profile.source = "measured";
  machine.profile.devices = {DeviceOfSpeed("cpu", "cpu", 1), DeviceOfSpeed("far", "gpu", 4)};
  machine.residuals.resize(2);
  machine.fit_error.resize(2);
  return machine;
}

class LivePlannerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("lem-live-planner-test-{}", ::getpid());
    fs::create_directories(folder_);
    ASSERT_TRUE(WriteTinyModel(folder_ / "tiny.gguf", {.num_layers = 3}).ok());
    model_ = std::move(*LoadModel(folder_ / "tiny.gguf"));
    auto cpu = MakeCpuDevice(pool_, BestKernelTable());
    auto far = std::make_unique<ShadowDevice>("far", *cpu, *memory_);
    far_ = far.get();
    devices_.Add(std::move(cpu));
    devices_.Add(std::move(far));
  }
  void TearDown() override {
    planner_.reset();
    engine_.reset();
    fs::remove_all(folder_);
  }

  void Start(const MeasuredMachine& machine, LivePlannerOptions options = {}, bool chooses = true) {
    planner_.reset();
    if (options.devices.empty()) options.devices = {"cpu", "far"};
    planner_ = std::move(*LivePlanner::Create(machine, std::move(options)));
    EngineOptions engine_options;
    engine_options.kv_cache_bytes = 4 << 20;
    engine_options.max_step_tokens = 64;
    engine_ = std::move(*Engine::Create(*model_, devices_, *memory_, BestKernelTable(), engine_options));
    ASSERT_TRUE(planner_->AddModel(0, "tiny", *model_, *engine_, devices_, "all cpu", chooses).ok());
    for (const char* placement : {"all cpu", "all far"}) {
      engine_->routes().Prepare(*ParsePlacement(placement));
      engine_->routes().Wait(placement);
    }
  }

  std::shared_ptr<PlannedRequest> Plan(SequenceId id = 1, int64_t prompt_tokens = 40) {
    GenerateRequest request;
    request.id = fmt::format("request-{}", id);
    request.prompt.assign(static_cast<size_t>(prompt_tokens), 5);
    auto planned = planner_->Plan(0, id, request, /*answer_limit=*/32);
    ids_[planned.get()] = id;
    return planned;
  }

  // A step of one row that took so long on the one device of this placement.
  void Ran(const std::shared_ptr<PlannedRequest>& request, const std::string& placement, double ms,
           int64_t num_tokens = 1, bool in_prompt = false) {
    Engine::BatchRun run;
    run.route = engine_->routes().Find(placement);
    run.phase = in_prompt || run.route->placed().phases_are_alike() ? Phase::kPrefill : Phase::kDecode;
    run.has_prompts = in_prompt;
    run.has_answers = !in_prompt;
    run.num_outputs = 1;
    run.mean_context = 48;
    run.rows = {{ids_.at(request.get()), num_tokens}};
    const auto begin = std::chrono::steady_clock::now();
    run.timings = {{begin, begin + std::chrono::microseconds(std::llround(ms * 1e3)), true}};
    planner_->BeginStep(0, num_tokens, {request});
    planner_->EndStep({run});
  }

  // The background thread has its own pace; what it should do some time is waited for.
  template <typename Condition>
  static bool Eventually(const Condition& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }

  fs::path folder_;
  std::unique_ptr<MemoryManager> memory_ = std::move(*MemoryManager::Create());
  ThreadPool pool_{1};
  DeviceRegistry devices_;
  ShadowDevice* far_ = nullptr;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<LivePlanner> planner_;
  std::map<const PlannedRequest*, SequenceId> ids_;
};

TEST_F(LivePlannerTest, ProposesWhatIsBestAndWhereWorkCanFlee) {
  Start(TwoDevices());
  const LivePlanner::Proposal proposal = *planner_->Propose(*model_);
  EXPECT_THAT(FormatPlacement(proposal.placement), testing::HasSubstr("far"));
  std::vector<std::string> others;
  others.reserve(proposal.others.size());
  for (const Placement& placement : proposal.others) others.push_back(FormatPlacement(placement));
  EXPECT_THAT(others, testing::Contains("all cpu"));
  EXPECT_THAT(proposal.device_ids, testing::UnorderedElementsAre("cpu", "far"));
  // Who keeps a device out is obeyed, and a device that nobody would choose is not opened.
  Start(TwoDevices(), {.devices = {"cpu"}});
  EXPECT_EQ(FormatPlacement(planner_->Propose(*model_)->placement), "all cpu");
  MeasuredMachine slow = TwoDevices();
  slow.profile.devices[1] = DeviceOfSpeed("far", "gpu", 0.01);
  const auto unlimited = std::move(*LivePlanner::Create(slow, {}));
  EXPECT_THAT(unlimited->Propose(*model_)->device_ids, testing::ElementsAre("cpu"));
}

TEST_F(LivePlannerTest, NewRequestsLeaveADeviceThatHasBecomeSlow) {
  Start(TwoDevices());
  const auto first = Plan();
  const PlanSummary plan = first->summary();
  EXPECT_EQ(plan.placement, "all far");
  EXPECT_EQ(plan.prefill_devices, "gpu");
  EXPECT_GT(plan.predicted_token_ms, 0);
  for (int i = 0; i < 4; ++i) Ran(first, "all far", plan.predicted_token_ms);
  EXPECT_EQ(Plan(2)->summary().placement, "all far");
  for (int i = 0; i < 4; ++i) {
    Ran(first, "all far", 14 * plan.predicted_token_ms);
    Ran(first, "all far", 14 * plan.predicted_first_token_ms, 40, /*in_prompt=*/true);
  }
  const auto second = Plan(3);
  EXPECT_EQ(second->summary().placement, "all cpu");
  const PlanInfo info = planner_->Plans().front();
  EXPECT_EQ(info.id, second->summary().id);
  EXPECT_EQ(info.request_id, "request-3");
  EXPECT_EQ(info.chosen_by, "cost");
  EXPECT_THAT(info.alternatives, testing::Contains(testing::Field(&PlanAlternative::placement, "all far")));
  for (const PlanAlternative& other : info.alternatives) EXPECT_FALSE(other.lost_because.empty());
}

TEST_F(LivePlannerTest, WhatIsUnderWayIsMoved) {
  Start(TwoDevices());
  const auto running = Plan(1), waiting = Plan(2);
  ASSERT_EQ(planner_->PlacementOf(*running), "all far");
  const PlanSummary plan = running->summary();
  Ran(running, "all far", plan.predicted_first_token_ms, 20, /*in_prompt=*/true);
  ASSERT_TRUE(Eventually([&] { return planner_->Trace().size() == 1; }));
  for (int i = 0; i < 6; ++i) {
    Ran(running, "all far", 14 * plan.predicted_token_ms);
    Ran(running, "all far", 14 * plan.predicted_first_token_ms, 1, /*in_prompt=*/true);
  }
  EXPECT_TRUE(Eventually([&] { return planner_->PlacementOf(*waiting) == "all cpu"; }));
  std::vector<LivePlanner::Move> moves;
  EXPECT_TRUE(Eventually([&] {
    moves = planner_->TakeMoves();
    return !moves.empty();
  }));
  EXPECT_EQ(moves[0].id, 1u);
  EXPECT_EQ(moves[0].placement, "all cpu");
  planner_->Moved(*running, moves[0]);
  EXPECT_EQ(planner_->PlacementOf(*running), "all cpu");
  EXPECT_EQ(planner_->Plans().back().moves, 1);
}

TEST_F(LivePlannerTest, ALostDeviceIsLeft) {
  Start(TwoDevices());
  EXPECT_EQ(Plan()->summary().placement, "all far");
  far_->LoseAfter(0);
  GenerateRequest request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 2;
  engine_->Add(9, std::make_shared<const GenerateRequest>(request), std::make_shared<NoSink>(), "all far");
  EXPECT_TRUE(engine_->Step({{9, 3}}).error.ok());
  EXPECT_EQ(Plan(2)->summary().placement, "all cpu");
}

TEST_F(LivePlannerTest, APlacementOfTheUserIsPredictedAndKept) {
  Start(TwoDevices(), {}, /*chooses=*/false);
  const auto planned = Plan();
  EXPECT_EQ(planned->summary().placement, "all cpu");
  EXPECT_EQ(planned->summary().prefill_devices, "cpu");
  EXPECT_GT(planned->summary().predicted_first_token_ms, planned->summary().predicted_token_ms);
  EXPECT_EQ(planner_->Plans().front().chosen_by, "user");
  EXPECT_EQ(planner_->PlacementOf(*planned), "") << "the engine knows better when its devices have compiled";
}

TEST_F(LivePlannerTest, ErrorsAndTimelinesAreTold) {
  Start(TwoDevices());
  const auto request = Plan();
  const double predicted = request->summary().predicted_token_ms;
  for (int i = 0; i < 3; ++i) Ran(request, "all far", 2 * predicted);
  const std::vector<TraceSpan> trace = planner_->Trace();
  ASSERT_EQ(trace.size(), 3u);
  EXPECT_EQ(trace[0].device, "far");
  EXPECT_EQ(trace[0].phase, "decode");
  EXPECT_NEAR(trace[0].measured_ms, 2 * predicted, 2e-3);
  EXPECT_NEAR(trace[0].predicted_ms, predicted, 0.2 * predicted);
  EXPECT_GT(trace[2].predicted_ms, 1.3 * trace[0].predicted_ms) << "what was measured corrects";
  const std::vector<PredictionStats> stats = planner_->Predictions();
  ASSERT_EQ(stats.size(), 1u);
  EXPECT_EQ(stats[0].device, "far");
  EXPECT_EQ(stats[0].steps, 3u);
  EXPECT_GT(stats[0].error, 0.1);
  EXPECT_LT(stats[0].error, 0.6);
  Usage usage{.prompt_tokens = 40, .completion_tokens = 5, .prefill_ms = 7, .decode_ms = 8};
  planner_->Finish(request, usage);
  const PlanInfo info = planner_->Plans().front();
  EXPECT_EQ(info.state, "finished");
  EXPECT_EQ(info.prefill.measured_ms, 7);
  EXPECT_EQ(info.decode.measured_ms, 2);
  EXPECT_EQ(info.energy_source, "unavailable");
}

TEST_F(LivePlannerTest, WhatWasLearnedIsKept) {
  const LivePlannerOptions options{.folder = folder_};
  Start(TwoDevices(), options);
  const auto request = Plan();
  const double predicted = request->summary().predicted_token_ms;
  for (int i = 0; i < 30; ++i) Ran(request, "all far", 3 * predicted);
  Start(TwoDevices(), options);
  const double later = Plan()->summary().predicted_token_ms;
  EXPECT_GT(later, 2 * predicted);
  // Another profile begins anew.
  MeasuredMachine other = TwoDevices();
  other.profile.devices[0].launch_us = 2;
  Start(other, options);
  EXPECT_NEAR(Plan()->summary().predicted_token_ms, predicted, 0.1 * predicted);
}

TEST_F(LivePlannerTest, EnergyIsThatOfTheDevicesAtWork) {
  MeasuredMachine machine = TwoDevices();
  for (DeviceProfile& device : machine.profile.devices) {
    device.power = {.source = PowerSource::kPackage, .idle_w = 5, .busy_w = 30};
  }
  const RecordedTree nothing("");
  Start(machine, {.power_root = nothing.root()});
  const auto request = Plan();
  Ran(request, "all far", 2000);
  Usage usage;
  planner_->Finish(request, usage);
  EXPECT_EQ(usage.energy_source, "modelled");
  EXPECT_NEAR(usage.joules, 60, 0.1);
}

TEST_F(LivePlannerTest, EnergyThatIsReadGoesBeforeWhatIsModelled) {
  const RecordedTree tree("intel_desktop");
  tree.Write("sys/class/powercap/intel-rapl:0/energy_uj", "1000000000\n");
  Start(TwoDevices(), {.power_root = tree.root()});
  int64_t microjoules = 1'000'000'000;
  EXPECT_TRUE(Eventually([&] {
    microjoules += 500'000;
    tree.Write("sys/class/powercap/intel-rapl:0/energy_uj", fmt::format("{}\n", microjoules));
    const auto request = Plan();
    Ran(request, "all far", 1000);
    Usage usage;
    planner_->Finish(request, usage);
    return usage.energy_source == "board" && usage.joules > 0;
  }));
}

}  // namespace
}  // namespace lem
