// What was measured of this machine's devices, as the cost model takes it; kept on disk so that it is measured once.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/profile/device_profiler.h"

namespace lem {

struct MeasuredMachine {
  MachineProfile profile;
  std::vector<ResidualModel> residuals;  // by device
  std::vector<double> fit_error;         // by device: mean |log(measured / predicted)| of what it was trained on
  double reference_ms = 0;               // ReferenceMs while it was measured
  int64_t measured_at = 0;               // seconds since 1970; 0 = never: priors

  // A cost model that knows all of it. Errors: as CostModel::Create.
  Result<CostModel> MakeCostModel() const;
};

// Which clock of an emulated device counts. Plans of real requests only ever use kWall.
enum class DeviceClock : uint8_t { kWall, kVirtual };

// Rates and bandwidth by weight type, then trees for what those leave unexplained. Devices that a clock says
// nothing of are left out. Errors: FailedPrecondition (too little was measured).
Result<MeasuredMachine> MachineFrom(const std::vector<DeviceMeasurements>& devices, const std::vector<DeviceCaps>& caps,
                                    DeviceClock clock);

// The work of a made-up model.
ModelWork WorkOfProbe(const ProbeShape& shape);

// Names this machine by processor, memory, GPUs and NPUs on its buses, and installed Vulkan drivers: what a profile
// depends on, found without opening any device.
std::string MachineIdentity();

std::string WriteMachine(const MeasuredMachine& machine);
// Errors: InvalidArgument naming the field; NotFound of a profile that another version of this program measured.
Result<MeasuredMachine> ReadMachine(std::string_view json);

// Where `lem profile` keeps what it measured.
std::filesystem::path ProfilesFolder();

// Of this machine, in `folder`. Errors: NotFound.
std::filesystem::path ProfilePath(const std::filesystem::path& folder, DeviceClock clock);
Result<MeasuredMachine> LoadMachine(const std::filesystem::path& folder, DeviceClock clock);
Status SaveMachine(const MeasuredMachine& machine, const std::filesystem::path& folder, DeviceClock clock);

}  // namespace lem
