#include "runtime/profile/measured_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "base/file.h"
#include "device/cpu/cpu_device.h"
#include "device/testing/shadow_device.h"
#include "runtime/profile/device_power.h"
#include "runtime/profile/planner.h"

namespace lem {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr double kLaunchMs = 0.05;

ProbeShape ShapeOf(int64_t hidden) {
  return {.weights = DType::kQ4_K,
          .num_layers = 1,
          .hidden_size = hidden,
          .intermediate_size = hidden * 11 / 4,
          .num_heads = hidden / 64,
          .num_kv_heads = hidden / 256,
          .head_dim = 64,
          .vocab_size = 8192};
}

// A made-up device: bound by bandwidth for few rows and by arithmetic for many, with a lower rate for attention.
double TrueMs(const ProbeShape& shape, Part part, const StepShape& step, double slowness) {
  constexpr double kFlopsAMs = 400e6, kBytesAMs = 20e6;
  const ModelWork work = WorkOfProbe(shape);
  const PartWork& own = *std::ranges::find(work.classes, part, &PartWork::part);
  const double rows = part == Part::kHead ? step.sequences : step.rows;
  const double products = std::max(own.flops_per_row * rows / kFlopsAMs, own.weight_bytes / kBytesAMs);
  const double attention = own.flops_per_pair * step.context * step.rows / (0.3 * kFlopsAMs);
  return kLaunchMs + slowness * (products + attention);
}

StepTimes TimesOf(const ProbeShape& model, const StepShape& step, double slowness, double apart) {
  StepTimes times;
  for (const Part part : {Part::kEmbedding, Part::kAttention, Part::kFeedForward, Part::kHead}) {
    const double ms = TrueMs(model, part, step, slowness) - kLaunchMs;
    times.part_ms[static_cast<size_t>(part)] = kLaunchMs + apart * ms;
    times.step_ms += ms;
  }
  times.step_ms += kLaunchMs;
  return times;
}

StepTimes Scaled(StepTimes times, double factor) {
  for (double& ms : times.part_ms) ms *= factor;
  times.step_ms *= factor;
  return times;
}

// `apart`: how much longer parts take one by one than in a step.
DeviceMeasurements Measure(const std::string& id, double slowness, double apart = 1) {
  DeviceMeasurements device{.device_id = id, .launch_ms = kLaunchMs, .virtual_launch_ms = kLaunchMs};
  for (const int64_t hidden : {512, 1024, 2048}) {
    for (const double rows : {1, 4, 16, 64, 128, 256}) {
      for (const double context : {8, 512, 2048}) {
        const bool decode = rows <= 16;
        const StepShape step{decode ? Phase::kDecode : Phase::kPrefill, rows, decode ? rows : 1, context};
        const StepTimes times = TimesOf(ShapeOf(hidden), step, slowness, apart);
        device.steps.push_back({ShapeOf(hidden), step, times, id == "npu-emu" ? Scaled(times, 0.01) : StepTimes{}});
      }
    }
  }
  return device;
}

DeviceCaps CapsOf(const std::string& id) {
  DeviceCaps caps;
  caps.id = id;
  caps.name = "made up";
  caps.emulated = id == "npu-emu";
  return caps;
}

MeasuredMachine TwoDevices(DeviceClock clock) {
  return *MachineFrom({Measure("cpu", 1), Measure("npu-emu", 3)}, {CapsOf("cpu"), CapsOf("npu-emu")}, clock);
}

double ErrorOfHeldOut(const MeasuredMachine& machine) {
  const CostModel costs = *machine.MakeCostModel();
  double error = 0;
  int count = 0;
  for (const int64_t hidden : {768, 1536}) {
    for (const StepShape& step : {StepShape{Phase::kDecode, 1, 1, 300}, StepShape{Phase::kDecode, 8, 8, 1000},
                                  StepShape{Phase::kPrefill, 100, 1, 50}, StepShape{Phase::kPrefill, 200, 1, 1200}}) {
      const ModelWork work = WorkOfProbe(ShapeOf(hidden));
      for (const Part part : {Part::kAttention, Part::kFeedForward}) {
        const PartWork& own = *std::ranges::find(work.classes, part, &PartWork::part);
        const double truth = TrueMs(ShapeOf(hidden), part, step, 1) - kLaunchMs;
        error += std::abs(costs.Predict(0, work, own, step).ms() / truth - 1);
        ++count;
      }
    }
  }
  return error / count;
}

TEST(MeasuredMachineTest, PredictsWhatWasNotMeasured) {
  const MeasuredMachine machine = TwoDevices(DeviceClock::kWall);
  EXPECT_LT(ErrorOfHeldOut(machine), 0.15);
  EXPECT_LT(machine.fit_error[0], 0.1);
}

// Parts that are run one by one take 40 % longer here; what counts is what the whole step takes.
TEST(MeasuredMachineTest, PartsCountByWhatTheyTakeInAStep) {
  const MeasuredMachine machine = *MachineFrom({Measure("cpu", 1, 1.4)}, {CapsOf("cpu")}, DeviceClock::kWall);
  EXPECT_LT(ErrorOfHeldOut(machine), 0.15);
}

// A tile of kernels holds 4 rows, so that 5 cost as much as 8. Only one weight type was measured often enough to show
// it, and the other has it, too.
TEST(MeasuredMachineTest, TilesOfRowsAreThoseOfAllWeightTypes) {
  DeviceMeasurements device{.device_id = "cpu", .launch_ms = kLaunchMs, .virtual_launch_ms = kLaunchMs};
  const auto add = [&](DType weights, double rows) {
    ProbeShape model = ShapeOf(1024);
    model.weights = weights;
    const StepShape padded{Phase::kDecode, std::ceil(rows / 4) * 4, rows, 8};
    const double slowness = weights == DType::kQ4_K ? 1 : 1.5;
    device.steps.push_back({model, {Phase::kDecode, rows, rows, 8}, TimesOf(model, padded, slowness, 1), {}});
  };
  for (const double rows : {1, 4, 5, 8, 9, 16}) add(DType::kQ4_K, rows);
  for (const double rows : {1, 16}) add(DType::kQ4_0, rows);
  const MeasuredMachine machine = *MachineFrom({device}, {CapsOf("cpu")}, DeviceClock::kWall);
  const DeviceProfile& profile = machine.profile.devices[0];
  for (const char* weights : {"Q4_K", "Q4_0"}) {
    const auto ms = [&](double rows) { return rows / profile.GemmTflops(weights, rows, Phase::kDecode); };
    EXPECT_NEAR(ms(5) / ms(8), 1, 0.02) << weights;
    EXPECT_GT(ms(5), 1.3 * ms(4)) << weights;
  }
  EXPECT_NEAR(profile.GemmTflops("Q4_K", 8) / profile.GemmTflops("Q4_0", 8), 1.5, 0.05);
}

TEST(MeasuredMachineTest, DevicesWithMemoryOfTheirOwnAreSpaces) {
  DeviceMeasurements far = Measure("far", 1);
  far.has_own_memory = true;
  far.copy_in = {20, 10};
  far.copy_out = {5, 30};
  far.power = {.source = PowerSource::kBoard, .idle_w = 9, .busy_w = 70};
  const MeasuredMachine machine =
      *MachineFrom({Measure("cpu", 1), far}, {CapsOf("cpu"), CapsOf("far")}, DeviceClock::kWall);
  const MeasuredMachine read = *ReadMachine(WriteMachine(machine));
  EXPECT_FALSE(read.profile.OneSpace());
  EXPECT_NEAR(read.profile.CopyMs(kHostSpace, read.profile.devices[1].space, 20e6), 1.01, 1e-9);
  EXPECT_NEAR(read.profile.CopyMs(read.profile.devices[1].space, kHostSpace, 20e6), 4.03, 1e-9);
  EXPECT_EQ(read.profile.devices[1].power.source, PowerSource::kBoard);
  EXPECT_EQ(read.profile.devices[1].power.busy_w, 70);
  EXPECT_EQ(read.profile.devices[0].power.source, PowerSource::kUnavailable);
}

TEST(DevicePowerTest, TheNearestSensorOfADeviceIsRead) {
  const auto span = [](double cpu, double gpu, double seconds) {
    PowerSpan power{{}, seconds};
    power.uses.push_back({"rapl:package-0", "cpu package 0", "", PowerSource::kPackage, cpu, ""});
    power.uses.push_back({"nvml:GPU-1", "gpu", "", PowerSource::kBoard, gpu, ""});
    power.uses.push_back({"amdxdna:0", "npu", "", PowerSource::kUnavailable, 0, "asleep"});
    return power;
  };
  const PowerSpan idle = span(10, 20, 1), busy = span(300, 800, 10);
  DeviceCaps caps = CapsOf("cpu");
  DevicePower power = PowerOf(caps, idle, busy);
  EXPECT_EQ(power.source, PowerSource::kPackage);
  EXPECT_DOUBLE_EQ(power.idle_w, 10);
  EXPECT_DOUBLE_EQ(power.busy_w, 30);
  caps.kind = DeviceKind::kGpu;
  EXPECT_DOUBLE_EQ(PowerOf(caps, idle, busy).busy_w, 80);
  caps.emulated = true;
  EXPECT_DOUBLE_EQ(PowerOf(caps, idle, busy).busy_w, 30) << "it is computed by the processor";
  caps.kind = DeviceKind::kNpu;
  caps.emulated = false;
  EXPECT_EQ(PowerOf(caps, idle, busy).source, PowerSource::kPackage) << "its own sensor was lost";
  EXPECT_EQ(PowerOf(caps, {}, busy).source, PowerSource::kUnavailable);
  EXPECT_EQ(PowerOf(caps, idle, {{}, 10}).source, PowerSource::kUnavailable);
}

TEST(MeasuredMachineTest, ThePlannerTakesTheFasterDevice) {
  const ModelWork work = WorkOfProbe(ShapeOf(1024));
  const auto best = [&](DeviceClock clock) {
    MeasuredMachine machine = TwoDevices(clock);
    machine.profile.corun_slowdown = 2;  // they share processors: halves of a product gain nothing
    const CostModel costs = *machine.MakeCostModel();
    return FormatPlacement(SearchPlacement(costs, work, {.prompt_tokens = 256, .max_tokens = 64})->best.placement);
  };
  EXPECT_EQ(best(DeviceClock::kWall), "all cpu");
  EXPECT_EQ(best(DeviceClock::kVirtual), "all npu-emu") << "the emulated device, at the speed it is a model of";
}

TEST(MeasuredMachineTest, ReadsBackWhatItWrote) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("lem-measured-machine-test-{}", ::getpid());
  EXPECT_EQ(LoadMachine(folder, DeviceClock::kWall).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(KnownMachine(folder, DeviceClock::kWall)->profile.source, "priors");
  MeasuredMachine machine = TwoDevices(DeviceClock::kWall);
  machine.reference_ms = 3;
  machine.measured_at = 1'700'000'000;
  machine.profile.corun_slowdown = 1.5;
  ASSERT_TRUE(SaveMachine(machine, folder, DeviceClock::kWall).ok());
  const MeasuredMachine read = *KnownMachine(folder, DeviceClock::kWall);
  EXPECT_EQ(read.reference_ms, 3);
  EXPECT_EQ(read.measured_at, 1'700'000'000);
  EXPECT_EQ(WriteMachine(*ReadMachine(WriteMachine(read))), WriteMachine(read))
      << "what is learned beside a profile names it by its text";
  EXPECT_EQ(read.profile.corun_slowdown, 1.5);
  const CostModel before = *machine.MakeCostModel(), after = *read.MakeCostModel();
  const ModelWork work = WorkOfProbe(ShapeOf(768));
  for (int device = 0; device < 2; ++device) {
    for (const PartWork& part : work.classes) {
      const StepShape step{Phase::kPrefill, 40, 1, 20};
      const double expected = before.Predict(device, work, part, step).ms();
      EXPECT_NEAR(after.Predict(device, work, part, step).ms(), expected, 1e-4 * expected);
    }
    EXPECT_EQ(after.LaunchMs(device, Phase::kDecode), before.LaunchMs(device, Phase::kDecode));
  }
  EXPECT_EQ(LoadMachine(folder, DeviceClock::kVirtual).status().code(), StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomic(ProfilePath(folder, DeviceClock::kWall), R"({"format":2,"machine":7})").ok());
  EXPECT_THAT(KnownMachine(folder, DeviceClock::kWall).status().message(), HasSubstr(folder.string()));
  fs::remove_all(folder);
}

TEST(MeasuredMachineTest, ProfilesOfOtherFormsAreErrors) {
  const std::string good = WriteMachine(TwoDevices(DeviceClock::kWall));
  EXPECT_TRUE(ReadMachine(good).ok());
  for (const char* text : {"", "[]", "{}", R"({"format":2})", R"({"format":"2"})"}) {
    EXPECT_EQ(ReadMachine(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(ReadMachine(R"({"format":1})").status().code(), StatusCode::kNotFound) << "of an earlier version";
  for (size_t cut = 1; cut < good.size(); cut += good.size() / 97) EXPECT_FALSE(ReadMachine(good.substr(0, cut)).ok());
}

TEST(MeasuredMachineTest, TheIdentityStaysTheSame) {
  EXPECT_EQ(MachineIdentity(), MachineIdentity());
  EXPECT_EQ(MachineIdentity().size(), 16u);
}

TEST(MeasuredMachineTest, TooLittleIsAnError) {
  DeviceMeasurements nothing{.device_id = "cpu", .launch_ms = 1};
  EXPECT_EQ(MachineFrom({nothing}, {CapsOf("cpu")}, DeviceClock::kWall).status().code(),
            StatusCode::kFailedPrecondition);
}

// The real thing, for a moment: every part is measured, also behind copies.
TEST(DeviceProfilerTest, MeasuresDevicesThroughTheirInterface) {
  ThreadPool pool(2);
  const auto memory = std::move(*MemoryManager::Create());
  DeviceRegistry devices;
  devices.Add(MakeCpuDevice(pool, BestKernelTable()));
  Device& cpu = *devices.devices().front();
  devices.Add(std::make_unique<ShadowDevice>("far", cpu, *memory));
  Device& far = *devices.devices().back();
  int num_reports = 0;
  const ProfilerOptions options{
      .seconds_per_device = 0.3, .max_models = 1, .on_progress = [&](const std::string&, double share) {
        EXPECT_GE(share, 0);
        ++num_reports;
      }};
  for (Device* device : {&cpu, &far}) {
    const Result<DeviceMeasurements> measured =
        MeasureDevice(*device, devices, *memory, pool, ReferenceMs(pool), options);
    ASSERT_TRUE(measured.ok()) << measured.status().ToString();
    EXPECT_GT(measured->launch_ms, 0);
    EXPECT_EQ(measured->has_own_memory, device == &far);
    ASSERT_FALSE(measured->steps.empty());
    for (const StepMeasurement& step : measured->steps) {
      EXPECT_GT(step.wall.step_ms, 0);
      EXPECT_EQ(step.device_clock.step_ms, 0);
      for (const double ms : step.wall.part_ms) EXPECT_GT(ms, 0);
    }
  }
  const DeviceMeasurements measured =
      *MeasureDevice(far, devices, *memory, pool, ReferenceMs(pool), {.seconds_per_device = 0.1, .max_models = 1});
  EXPECT_GT(measured.copy_in.gbs, 0);
  EXPECT_GT(measured.copy_out.latency_us, 0);
  EXPECT_GT(num_reports, 0);
  const Result<JointMeasurement> joint = MeasureJoint(far, cpu, devices, *memory);
  ASSERT_TRUE(joint.ok()) << joint.status().ToString();
  EXPECT_GE(joint->slowdown, 1);
  EXPECT_LE(joint->slowdown, 2);
  EXPECT_GT(joint->gbs, 0);
  EXPECT_GT(ReferenceMs(pool), 0);
}

}  // namespace
}  // namespace lem
