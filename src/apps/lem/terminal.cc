#include "apps/lem/terminal.h"

#include <fmt/chrono.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "base/log.h"

namespace lem {
namespace {

CancelToken interrupted;

void OnInterrupt(int) { interrupted.Cancel(); }

}  // namespace

void PrintLine(std::FILE* stream, std::string_view text) {
  std::string out;
  while (true) {
    const size_t end = text.find('\n');
    out += EscapeForTerminal(text.substr(0, end));
    out += '\n';
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  std::fwrite(out.data(), 1, out.size(), stream);
  std::fflush(stream);
}

void PrintError(std::string_view text) { PrintLine(stderr, fmt::format("lem: {}", text)); }

bool IsTerminal(std::FILE* stream) { return ::isatty(::fileno(stream)) == 1; }

int TerminalWidth() {
  struct winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

const CancelToken& CancelOnInterrupt() {
  struct sigaction action{};
  action.sa_handler = OnInterrupt;
  sigemptyset(&action.sa_mask);
  // Once: the second interrupt finds the default, which ends the program wherever it hangs.
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  return interrupted;
}

std::string FormatBytes(uint64_t bytes) {
  const char* const kUnits[] = {"kB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  size_t unit_idx = 0;
  // 999.95 and more would be written as 1000.0.
  while (value >= 999.95 && unit_idx + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit_idx;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit_idx]);
}

std::string FormatSeconds(double seconds) {
  const int64_t whole = seconds < 1 ? 1 : static_cast<int64_t>(seconds < 1e9 ? seconds : 1e9);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string FormatTimeUtc(int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  if (::gmtime_r(&time, &parts) == nullptr) return "unknown";
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", parts);
}

std::string FormatAge(int64_t unix_s) {
  const int64_t seconds = std::time(nullptr) - unix_s;
  const auto count = [](int64_t number, std::string_view unit) {
    return fmt::format("{} {}{} ago", number, unit, number == 1 ? "" : "s");
  };
  if (seconds < 60) return "just now";
  if (seconds < 3600) return count(seconds / 60, "minute");
  if (seconds < 86'400) return count(seconds / 3600, "hour");
  return count(seconds / 86'400, "day");
}

}  // namespace lem
