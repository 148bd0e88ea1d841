// Runs another program to its end: no shell, its own process group, stdin closed, output caught.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "request/request.h"

namespace lem {

struct ProcessOptions {
  std::vector<std::string> arguments;    // the program first, looked up in PATH
  std::vector<std::string> environment;  // "NAME=value", over and above this process's own
  std::filesystem::path folder;          // working folder
  std::function<void()> on_tick;         // called some ten times a second while it runs; may be empty
};

struct ProcessResult {
  int exit_code = 0;        // 128 + signal if a signal ended it
  std::string output_tail;  // the last 16 KiB of stdout and stderr together
};

// Errors: NotFound (no such program), Cancelled (the whole process group has been ended), Internal.
Result<ProcessResult> RunProcess(const ProcessOptions& options, const CancelToken& cancel);

}  // namespace lem
