// Reading of the small text files of sysfs and procfs, as the probes of this module need it.
//
// What the files hold is from outside: sizes, counts and numbers have limits, and names are cut to printable ASCII.
// Stateless, safe from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lem::sysfs {

// At most the first max_bytes of a regular file, whatever size it claims (procfs claims 0). Errors: NotFound (no such
// file, or its device went away), PermissionDenied (the mode of the file), Unavailable (its driver does not answer).
// The messages are short and begin with "gone", "permission" or "no answer": they are shown to people as they are.
Result<std::string> ReadPrefix(const std::filesystem::path& path, size_t max_bytes = 4096);

// A file that holds one decimal number and nothing else but white space. Errors: as ReadPrefix, and DataLoss.
Result<uint64_t> ReadUnsigned(const std::filesystem::path& path, uint64_t max_value);
Result<int64_t> ReadSigned(const std::filesystem::path& path, int64_t max_magnitude);

// The first line of a file, of printable ASCII and at most 64 characters; empty if there is none.
std::string ReadName(const std::filesystem::path& path);

// Entries of a folder whose names begin with `prefix` and go on with a digit, at most 256, hwmon2 before hwmon10.
std::vector<std::filesystem::path> Numbered(const std::filesystem::path& folder, std::string_view prefix);

// The last part of what a symbolic link points to: the name of a driver or the address of a device; empty if none.
std::string LinkName(const std::filesystem::path& link);

// True for what LinkName gives for a PCI device: "0000:03:00.0".
bool IsPciAddress(std::string_view name);

}  // namespace lem::sysfs
