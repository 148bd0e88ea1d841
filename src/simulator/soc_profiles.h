// Machines that one does not own: data/soc_profiles.csv as MachineProfiles. What a row leaves empty is filled in by the
// rules that the file's header gives and listed in DeviceProfile::guesses; what no row has (launches, waits, what a
// layer takes) comes from priors of the row's kind of device, which are data, too.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "scheduler/cost/device_profile.h"

namespace lem {

// Errors: InvalidArgument naming line, column, value found and values allowed.
Result<std::vector<MachineProfile>> ParseSocProfiles(std::string_view csv, std::string_view file_name);

// The table that is built in.
const std::vector<MachineProfile>& KnownSocs();
// Errors: NotFound naming what there is.
Result<const MachineProfile*> FindSoc(std::string_view name);

}  // namespace lem
