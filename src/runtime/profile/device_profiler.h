// Measures what a device does with the parts of models, through the same interface that answers use: each part of
// made-up models of several sizes and weight types, for rows of prompts and of answers, behind contexts of several
// lengths.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "device/registry.h"
#include "runtime/profile/probe_model.h"
#include "scheduler/cost/cost_model.h"

namespace lem {

// One part of one layer.
struct PartMeasurement {
  ProbeShape model;
  Part part = Part::kEmbedding;
  StepShape shape;
  double ms = 0;          // median over layers and repeats, submission to completion
  double virtual_ms = 0;  // by the clock of an emulated device; 0 = it has none
};

struct DeviceMeasurements {
  std::string device_id;
  double launch_ms = 0;  // of the least work there is
  double virtual_launch_ms = 0;
  std::vector<PartMeasurement> parts;
};

struct ProfilerOptions {
  double seconds_per_device = 40;  // sizes that would take longer are left out
  size_t max_models = 10;          // of those made up, smaller ones first
  // Called now and then with what is being measured, and the share that is done.
  std::function<void(const std::string& what, double share)> on_progress;
};

// `devices` holds the device and the CPU. Times are as they would be at the speed that the machine had when
// `reference_ms` was measured: shared machines drift by tens of percent within minutes. Errors: of compiling and of
// running.
Result<DeviceMeasurements> MeasureDevice(Device& device, const DeviceRegistry& devices, MemoryManager& memory,
                                         ThreadPool& pool, double reference_ms, const ProfilerOptions& options);

// How much longer a product takes when the CPU and the device work at the same time than on the slower of the two
// alone; 2 = they take turns.
Result<double> MeasureJoint(Device& device, Device& cpu, const DeviceRegistry& devices, MemoryManager& memory);

// Milliseconds of a fixed piece of arithmetic on every thread: how fast the machine is at the moment.
double ReferenceMs(ThreadPool& pool);

}  // namespace lem
