// Measures what a device does with the parts of models, through the same interface that answers use: each part of
// made-up models of several sizes and weight types and these models as a whole, for rows of prompts and of answers,
// behind contexts of several lengths.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/profile/probe_bench.h"

namespace lem {

// One step of a made-up model.
struct StepMeasurement {
  ProbeShape model;
  StepShape shape;
  StepTimes wall;
  StepTimes device_clock;  // of an emulated device; 0 = it has none
};

// One way between the host's memory and a device's own.
struct CopyMeasurement {
  double gbs = 0;
  double latency_us = 0;
};

struct DeviceMeasurements {
  std::string device_id;
  double launch_ms = 0;  // of the least work there is
  double virtual_launch_ms = 0;
  std::vector<StepMeasurement> steps;
  bool has_own_memory = false;
  CopyMeasurement copy_in, copy_out;  // if it has
  DevicePower power;                  // while it was measured
};

struct ProfilerOptions {
  double seconds_per_device = 38;  // steps that would take longer are left out
  size_t max_models = 100;         // of those made up, smaller ones first
  // Called now and then with what is being measured, and the share that is done.
  std::function<void(const std::string& what, double share)> on_progress;
};

// `devices` holds the device and the CPU. Times are as they would be at the speed that the machine had when
// `reference_ms` was measured. Errors: of compiling and of running.
Result<DeviceMeasurements> MeasureDevice(Device& device, const DeviceRegistry& devices, MemoryManager& memory,
                                         ThreadPool& pool, double reference_ms, const ProfilerOptions& options);

// The CPU and a device that work at the same time.
struct JointMeasurement {
  double slowdown = 1;  // of a product of both, beside the slower of the two alone; 2 = they take turns
  double gbs = 0;       // of weights that both read together
};
Result<JointMeasurement> MeasureJoint(Device& device, Device& cpu, const DeviceRegistry& devices,
                                      MemoryManager& memory);

}  // namespace lem
