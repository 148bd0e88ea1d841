// The commands of `lem`, one file each. RegisterX adds a subcommand to `app`; when the user calls it, `action` becomes
// what main has to run, whose result is the program's exit code.
//
// Exit codes: 0 done, 1 failed, 2 called wrongly, 130 interrupted. Answers go to stdout, everything else to stderr.
#pragma once

#include <CLI/App.hpp>
#include <functional>

#include "base/status.h"

namespace lem {

using Action = std::function<int()>;

void RegisterPull(CLI::App& app, Action& action);
void RegisterList(CLI::App& app, Action& action);
void RegisterShow(CLI::App& app, Action& action);
void RegisterRm(CLI::App& app, Action& action);
void RegisterRun(CLI::App& app, Action& action);
void RegisterTokenize(CLI::App& app, Action& action);  // also detokenize
void RegisterKey(CLI::App& app, Action& action);
void RegisterServe(CLI::App& app, Action& action);
void RegisterProfile(CLI::App& app, Action& action);
void RegisterExplain(CLI::App& app, Action& action);
void RegisterDoctor(CLI::App& app, Action& action);

// The exit code for `status`; if it is an error, says so on stderr as "lem: message".
int Finish(const Status& status);

}  // namespace lem
