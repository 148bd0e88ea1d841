// lem: runs and serves language models. Parses the command line and runs one command.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/spelling.h"

namespace lem {
namespace {

constexpr int kUsageError = 2;

// CLI11 says only that a command is missing.
std::optional<std::string> UnknownCommand(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return std::nullopt;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->check_name(argv[1])) return std::nullopt;
    names.push_back(command->get_name());
  }
  return fmt::format("there is no command {}{}", argv[1], DidYouMean(argv[1], names));
}

int Main(int argc, char** argv) {
  // A reader that goes away (lem list | head) is an error of write, not the end of the program.
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app("Runs and serves language models on every processor of this machine.", "lem");
  app.set_version_flag("--version", "lem " LEM_VERSION);
  app.require_subcommand(1);
  app.fallthrough(false);
  Action action;
  RegisterPull(app, action);
  RegisterList(app, action);
  RegisterShow(app, action);
  RegisterRm(app, action);
  RegisterRun(app, action);
  RegisterTokenize(app, action);
  RegisterKey(app, action);
  RegisterServe(app, action);
  RegisterProfile(app, action);
  RegisterExplain(app, action);
  RegisterDoctor(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    PrintError(UnknownCommand(app, argc, argv).value_or(error.what()));
    PrintLine(stderr, "Run lem --help, or lem COMMAND --help.");
    return kUsageError;
  }
  return action();
}

}  // namespace

int Finish(const Status& status) {
  if (status.ok()) return 0;
  PrintError(status.message());
  return status.code() == StatusCode::kCancelled ? 130 : 1;
}

}  // namespace lem

int main(int argc, char** argv) {
  try {
    return lem::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lem: %s\n", error.what());
    return 1;
  }
}
