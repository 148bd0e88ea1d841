#include "apps/lem/progress_line.h"

#include <algorithm>

#include "apps/lem/terminal.h"

namespace lem {
namespace {

using Phase = PullProgress::Phase;

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kPlainInterval{5};    // between lines in a log
constexpr std::chrono::milliseconds kRateStep{500};  // the rate is taken over steps of this length
constexpr double kRateForget = 0.3;                  // weight of the newest step

std::string PhaseText(const PullProgress& progress) {
  switch (progress.phase) {
    case Phase::kWaiting:
      return "another process is pulling this model; waiting for it";
    case Phase::kChecking:
      return "checking what is here";
    case Phase::kDownloading:
      return progress.source;
    case Phase::kVerifying:
      return "verifying";
  }
  return {};
}

std::string Bar(double share, int width) {
  const int full = std::clamp(static_cast<int>(share * width), 0, width);
  return std::string(static_cast<size_t>(full), '#') + std::string(static_cast<size_t>(width - full), '.');
}

}  // namespace

ProgressLine::ProgressLine() : is_terminal_(IsTerminal(stderr)) {}

ProgressLine::~ProgressLine() { EraseLine(); }

void ProgressLine::EraseLine() {
  if (!has_drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  has_drawn_ = false;
}

void ProgressLine::Note(const std::string& text) {
  EraseLine();
  PrintError(text);
}

void ProgressLine::Show(const PullProgress& progress) {
  const Clock::time_point now = Clock::now();
  const bool is_new = progress.phase != last_.phase || progress.source != last_.source || last_.total_bytes == 0;
  if (is_new) {
    rate_bytes_per_s_ = 0;
    rate_done_bytes_ = progress.done_bytes;
    rate_since_ = now;
  } else if (now - rate_since_ >= kRateStep) {
    const double seconds = std::chrono::duration<double>(now - rate_since_).count();
    const double newest = static_cast<double>(progress.done_bytes - rate_done_bytes_) / seconds;
    rate_bytes_per_s_ =
        rate_bytes_per_s_ == 0 ? newest : rate_bytes_per_s_ + kRateForget * (newest - rate_bytes_per_s_);
    rate_done_bytes_ = progress.done_bytes;
    rate_since_ = now;
  }
  last_ = progress;
  const auto interval = is_terminal_ ? kRedraw : std::chrono::milliseconds(kPlainInterval);
  if (!is_new && now - last_shown_ < interval) return;
  last_shown_ = now;
  Draw(progress);
}

void ProgressLine::Draw(const PullProgress& progress) {
  const double share = progress.total_bytes == 0
                           ? 0
                           : static_cast<double>(progress.done_bytes) / static_cast<double>(progress.total_bytes);
  std::string numbers;
  if (progress.phase != Phase::kWaiting) {
    numbers = fmt::format("{:3.0f}%  {} of {}", share * 100, FormatBytes(progress.done_bytes),
                          FormatBytes(progress.total_bytes));
    if (progress.phase == Phase::kDownloading && rate_bytes_per_s_ > 0) {
      const double left = static_cast<double>(progress.total_bytes - progress.done_bytes) / rate_bytes_per_s_;
      numbers +=
          fmt::format("  {}/s  {} left", FormatBytes(static_cast<uint64_t>(rate_bytes_per_s_)), FormatSeconds(left));
    }
  }
  if (!is_terminal_) {
    PrintLine(stderr, numbers.empty() ? PhaseText(progress) : fmt::format("{}: {}", PhaseText(progress), numbers));
    return;
  }
  const size_t width = static_cast<size_t>(std::max(TerminalWidth() - 1, 20));
  std::string line = numbers;
  if (!numbers.empty() && numbers.size() + 14 <= width) line = fmt::format("[{}] {}", Bar(share, 10), numbers);
  const std::string label = PhaseText(progress);
  if (line.empty()) {
    line = label;
  } else if (line.size() + 2 + label.size() <= width) {
    line += "  " + label;
  }
  line.resize(std::min(line.size(), width));
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  std::fflush(stderr);
  has_drawn_ = true;
}

}  // namespace lem
