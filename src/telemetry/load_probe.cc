#include "telemetry/load_probe.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>

#include "telemetry/sysfs.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxBytes = uint64_t{1} << 50;  // memory of one machine or card
constexpr uint64_t kMaxKilohertz = 100'000'000;    // 100 GHz
constexpr int64_t kMaxMicro =
    1'000'000'000'000'000;          // micro-volts, -amperes, -watts: a product fits a double exactly enough
constexpr size_t kMaxDomains = 64;  // frequency domains and zones looked at in one read
constexpr uint64_t kMinTicks = 5;   // of 10 ms: over fewer a share is noise

std::optional<uint64_t> UnsignedAt(const fs::path& path, uint64_t max_value) {
  const Result<uint64_t> value = sysfs::ReadUnsigned(path, max_value);
  return value.ok() ? std::optional(*value) : std::nullopt;
}

std::optional<double> MagnitudeAt(const fs::path& path) {
  const Result<int64_t> value = sysfs::ReadSigned(path, kMaxMicro);
  return value.ok() ? std::optional(std::abs(static_cast<double>(*value))) : std::nullopt;
}

// The next word of a text, and the text without it; empty at the end.
std::string_view NextWord(std::string_view& text) {
  constexpr std::string_view kSpace = " \t\n";
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(kSpace)));
  const std::string_view word = text.substr(0, text.find_first_of(kSpace));
  text.remove_prefix(word.size());
  return word;
}

template <typename T>
std::optional<T> NumberOf(std::string_view word) {
  T value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

// Ticks stay far below this in any machine's life; sums of ten do not overflow.
std::optional<uint64_t> NextTicks(std::string_view& text) {
  const std::optional<uint64_t> ticks = NumberOf<uint64_t>(NextWord(text));
  return ticks && *ticks < (uint64_t{1} << 60) ? ticks : std::nullopt;
}

// utime + stime of /proc/self/stat: words 14 and 15, the second of which, the name in brackets, may hold anything.
std::optional<uint64_t> ProcessTicks(const fs::path& root) {
  const Result<std::string> stat = sysfs::ReadPrefix(root / "proc/self/stat");
  if (!stat.ok()) return std::nullopt;
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(*stat).substr(name_end + 1);
  for (int word = 3; word < 14; ++word) NextWord(rest);
  const std::optional<uint64_t> user = NextTicks(rest);
  const std::optional<uint64_t> system = NextTicks(rest);
  if (!user || !system) return std::nullopt;
  return *user + *system;
}

// "0.52 0.58 0.59 3/1234 5678": the part before the slash.
std::optional<int> ReadRunnable(const fs::path& root) {
  const Result<std::string> loadavg = sysfs::ReadPrefix(root / "proc/loadavg");
  if (!loadavg.ok()) return std::nullopt;
  std::string_view rest = *loadavg;
  for (int i = 0; i < 3; ++i) NextWord(rest);
  const std::string_view tasks = NextWord(rest);
  const size_t slash = tasks.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::optional<int> runnable = NumberOf<int>(tasks.substr(0, slash));
  return runnable && *runnable >= 0 ? runnable : std::nullopt;
}

std::optional<uint64_t> ReadMemoryAvailable(const fs::path& root) {
  const Result<std::string> meminfo = sysfs::ReadPrefix(root / "proc/meminfo");
  if (!meminfo.ok()) return std::nullopt;
  constexpr std::string_view kKey = "\nMemAvailable:";
  const size_t at = meminfo->find(kKey);
  if (at == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(*meminfo).substr(at + kKey.size());
  const std::optional<uint64_t> kib = NumberOf<uint64_t>(NextWord(rest));
  return kib && *kib <= kMaxBytes / 1024 ? std::optional(*kib * 1024) : std::nullopt;
}

// Lines "some avg10=1.50 avg60=... total=..." and "full avg10=...".
std::optional<Pressure> ReadPressure(const fs::path& path) {
  const Result<std::string> content = sysfs::ReadPrefix(path);
  if (!content.ok()) return std::nullopt;
  const auto share_of = [&](std::string_view key) -> std::optional<double> {
    const size_t at = content->find(key);
    if (at == std::string::npos) return std::nullopt;
    std::string_view rest = std::string_view(*content).substr(at + key.size());
    const std::optional<double> percent = NumberOf<double>(NextWord(rest));
    return percent && *percent >= 0 && *percent <= 100 ? std::optional(*percent / 100) : std::nullopt;
  };
  const std::optional<double> some = share_of("some avg10=");
  if (!some) return std::nullopt;
  return Pressure{*some, share_of("full avg10=").value_or(0)};
}

// Mean over the frequency domains of one of their files, in MHz.
std::optional<double> MeanMegahertz(const fs::path& root, std::string_view file) {
  const std::vector<fs::path> domains = sysfs::Numbered(root / "sys/devices/system/cpu/cpufreq", "policy");
  double sum = 0;
  int count = 0;
  for (size_t i = 0; i < std::min(domains.size(), kMaxDomains); ++i) {
    if (const std::optional<uint64_t> khz = UnsignedAt(domains[i] / file, kMaxKilohertz)) {
      sum += static_cast<double>(*khz) * 1e-3;
      ++count;
    }
  }
  return count > 0 ? std::optional(sum / count) : std::nullopt;
}

void ReadHottestZone(const fs::path& root, LoadReading& reading) {
  const std::vector<fs::path> zones = sysfs::Numbered(root / "sys/class/thermal", "thermal_zone");
  for (size_t i = 0; i < std::min(zones.size(), kMaxDomains); ++i) {
    constexpr int64_t kMaxMillidegrees = 150'000;  // beyond it, or below 0, a sensor is not connected
    const Result<int64_t> millidegrees = sysfs::ReadSigned(zones[i] / "temp", kMaxMillidegrees);
    if (!millidegrees.ok() || *millidegrees <= 0) continue;
    const double celsius = static_cast<double>(*millidegrees) * 1e-3;
    if (reading.hottest_celsius && celsius <= *reading.hottest_celsius) continue;
    reading.hottest_celsius = celsius;
    reading.hottest_zone = sysfs::ReadName(zones[i] / "type");
  }
}

// Folders of /sys/class/power_supply have any names. At most 32 are looked at.
std::vector<fs::path> PowerSupplies(const fs::path& root) {
  constexpr size_t kMaxSupplies = 32;
  std::vector<fs::path> supplies;
  std::error_code error;
  for (fs::directory_iterator it(root / "sys/class/power_supply", error), end; !error && it != end;
       it.increment(error)) {
    if (supplies.size() < kMaxSupplies) supplies.push_back(it->path());
  }
  return supplies;
}

std::optional<double> BatteryWatts(const fs::path& battery) {
  if (const std::optional<double> microwatts = MagnitudeAt(battery / "power_now")) return *microwatts * 1e-6;
  const std::optional<double> microamperes = MagnitudeAt(battery / "current_now");
  const std::optional<double> microvolts = MagnitudeAt(battery / "voltage_now");
  if (!microamperes || !microvolts) return std::nullopt;
  return *microamperes * 1e-6 * *microvolts * 1e-6;
}

std::optional<BatteryState> ReadBattery(const fs::path& root) {
  int num_batteries = 0, num_percents = 0;
  double percents = 0;
  bool has_supply = false, is_discharging = false;
  BatteryState state;
  for (const fs::path& supply : PowerSupplies(root)) {
    if (sysfs::ReadName(supply / "scope") == "Device") continue;  // of a mouse or a headset
    if (sysfs::ReadName(supply / "type") != "Battery") {
      has_supply |= UnsignedAt(supply / "online", 2).value_or(0) != 0;
      continue;
    }
    ++num_batteries;
    is_discharging |= sysfs::ReadName(supply / "status") == "Discharging";
    if (const std::optional<uint64_t> percent = UnsignedAt(supply / "capacity", 100)) {
      percents += static_cast<double>(*percent);
      ++num_percents;
    }
    if (const std::optional<double> watts = BatteryWatts(supply)) state.watts = state.watts.value_or(0) + *watts;
  }
  if (num_batteries == 0) return std::nullopt;
  state.on_battery = is_discharging && !has_supply;
  if (num_percents > 0) state.percent = percents / num_percents;
  return state;
}

std::vector<GpuLoad> ReadGpus(const fs::path& root) {
  std::vector<GpuLoad> gpus;
  for (const fs::path& card : sysfs::Numbered(root / "sys/class/drm", "card")) {
    const fs::path device = card / "device";
    if (card.filename().string().find('-') != std::string::npos) continue;  // "card1-HDMI-A-1": a connector
    GpuLoad gpu{.id = sysfs::LinkName(device)};
    if (!sysfs::IsPciAddress(gpu.id)) gpu.id = card.filename().string();
    gpu.vram_total_bytes = UnsignedAt(device / "mem_info_vram_total", kMaxBytes);
    gpu.vram_used_bytes = UnsignedAt(device / "mem_info_vram_used", kMaxBytes);
    gpu.gtt_used_bytes = UnsignedAt(device / "mem_info_gtt_used", kMaxBytes);
    // Asking for the load would wake a sleeping card up; that it sleeps is the answer.
    const bool is_asleep = sysfs::ReadName(device / "power/runtime_status") == "suspended";
    const std::optional<uint64_t> percent = is_asleep ? 0 : UnsignedAt(device / "gpu_busy_percent", 100);
    if (percent) gpu.busy = static_cast<double>(*percent) / 100;
    if (gpu.vram_total_bytes || (gpu.busy && !is_asleep)) gpus.push_back(std::move(gpu));
  }
  return gpus;
}

// The files that count heat's throttling, one for each package: all processors of a package show the same count.
std::vector<fs::path> FindThrottleCounts(const fs::path& root) {
  std::map<uint64_t, fs::path> by_package;
  for (const fs::path& cpu : sysfs::Numbered(root / "sys/devices/system/cpu", "cpu")) {
    const std::optional<uint64_t> package = UnsignedAt(cpu / "topology/physical_package_id", 65535);
    const fs::path file = cpu / "thermal_throttle/package_throttle_count";
    if (package && UnsignedAt(file, std::numeric_limits<uint64_t>::max())) by_package.try_emplace(*package, file);
  }
  std::vector<fs::path> files;
  files.reserve(by_package.size());
  for (const auto& [package, file] : by_package) files.push_back(file);
  return files;
}

}  // namespace

LoadProbe LoadProbe::Open(const fs::path& root) { return LoadProbe(root); }

LoadProbe::LoadProbe(fs::path root)
    : root_(std::move(root)),
      throttle_counts_(FindThrottleCounts(root_)),
      first_throttles_(ReadThrottles()),
      last_ticks_(ReadTicks()) {}

// "cpu  user nice system idle iowait irq softirq steal guest guest_nice" of /proc/stat; guests are in user already.
std::optional<LoadProbe::CpuTicks> LoadProbe::ReadTicks() const {
  const Result<std::string> stat = sysfs::ReadPrefix(root_ / "proc/stat");
  if (!stat.ok()) return std::nullopt;
  std::string_view rest = std::string_view(*stat).substr(0, stat->find('\n'));
  if (NextWord(rest) != "cpu") return std::nullopt;
  CpuTicks ticks;
  constexpr int kNumStates = 8, kNumRequired = 4, kIdle = 3, kIoWait = 4;  // old kernels had only the first four
  for (int state = 0; state < kNumStates; ++state) {
    const std::optional<uint64_t> value = NextTicks(rest);
    if (!value && state < kNumRequired) return std::nullopt;
    ticks.total += value.value_or(0);
    if (state != kIdle && state != kIoWait) ticks.busy += value.value_or(0);
  }
  ticks.process = ProcessTicks(root_);
  return ticks;
}

std::optional<uint64_t> LoadProbe::ReadThrottles() const {
  std::optional<uint64_t> sum;
  for (const fs::path& file : throttle_counts_) {
    if (const std::optional<uint64_t> count = UnsignedAt(file, std::numeric_limits<uint32_t>::max())) {
      sum = sum.value_or(0) + *count;
    }
  }
  return sum;
}

void LoadProbe::ReadShares(LoadReading& reading) {
  const std::optional<CpuTicks> ticks = ReadTicks();
  if (!ticks || !last_ticks_ || ticks->total < last_ticks_->total) {
    last_ticks_ = ticks;
    cpu_busy_.reset();
    process_busy_.reset();
  } else if (ticks->total - last_ticks_->total >= kMinTicks) {
    const auto share_of = [&](uint64_t before, uint64_t now) {  // single states may go back by a tick
      const auto delta = static_cast<double>(now - std::min(before, now));
      return std::min(1.0, delta / static_cast<double>(ticks->total - last_ticks_->total));
    };
    cpu_busy_ = share_of(last_ticks_->busy, ticks->busy);
    process_busy_.reset();
    if (ticks->process && last_ticks_->process) process_busy_ = share_of(*last_ticks_->process, *ticks->process);
    last_ticks_ = ticks;
  }
  reading.cpu_busy = cpu_busy_;
  reading.process_busy = process_busy_;
}

LoadReading LoadProbe::Read() {
  LoadReading reading;
  ReadShares(reading);
  reading.num_runnable = ReadRunnable(root_);
  reading.memory_available_bytes = ReadMemoryAvailable(root_);
  reading.cpu_pressure = ReadPressure(root_ / "proc/pressure/cpu");
  reading.memory_pressure = ReadPressure(root_ / "proc/pressure/memory");
  reading.cpu_mhz = MeanMegahertz(root_, "scaling_cur_freq");
  reading.cpu_max_mhz = MeanMegahertz(root_, "cpuinfo_max_freq");
  ReadHottestZone(root_, reading);
  if (const std::optional<uint64_t> throttles = ReadThrottles(); throttles && first_throttles_) {
    reading.num_throttles = *throttles - std::min(*throttles, *first_throttles_);
  }
  reading.battery = ReadBattery(root_);
  reading.gpus = ReadGpus(root_);
  return reading;
}

}  // namespace lem
