#include "simulator/soc_profiles.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>

#include "base/check.h"
#include "base/embedded_file.h"
#include "base/spelling.h"
#include "simulator/csv.h"

LEM_EMBED_FILE(kPublishedSocs, char, LEM_PUBLISHED_FOLDER "/soc_profiles.csv")

namespace lem {
namespace {

// What is known of a kind of device in general.
struct KindPrior {
  std::string_view kind;
  double peak_share;        // of the fp16 peak that whole prompts reach (the file's rule); 0 = no rule
  double half_rate_rows;    // rows at which products reach half of their rate
  double single_row_share;  // of the rate, that kernels for few rows reach
  double launch_us, sync_us, layer_us, many_rows_layer_us;
  double expert_dispatch_share;  // of a launch, in layers whose experts the host must look up
  double attention_tflops;
  double expert_bandwidth_share, expert_gemm_share;
  double kv_bits;
  bool static_shapes;
};
// cpu, gpu: launches, waits and layers as of engines that submit a step at once and wait by polling; GPUs need some
// hundred rows to fill their cores. npu: the habits of the published engine on XDNA 2. Its array is reprogrammed for
// each kind of product of a layer (two to four times 4.9 ms, arXiv 2512.13282 gives the time of one); attention of
// single rows is bound by its vector units; keys and values take 8 bits and a scale; experts cost half a dispatch,
// since commands are queued, and many small products fill the array badly. Chosen by hand so that data/llm_points.csv,
// FastFlowLM's own table (eight models, three contexts) and one prefill of gpt-oss-20b come out. 13 ms of reprogramming
// is the low end of what the rows allow: the prefill of the 1B model alone would say 19, and with that short prompts of
// small models move from NPUs to GPUs (at 512 tokens and below).
constexpr KindPrior kPriors[] = {
    {"cpu", 0, 4, 0.3, 3, 3, 40, 0, 0, 0, 0.9, 1, 16, false},
    {"gpu", 0.15, 48, 0.3, 50, 50, 10, 0, 0, 0, 0.9, 1, 16, false},
    {"npu", 0.2, 0, 1, 400, 30, 110, 13000, 0.5, 0.38, 0.9, 0.35, 8.5, true},
};
constexpr double kSpecBandwidthShare = 0.7;  // of the SoC's, the file's rule for an empty cell
// The package beside its devices: memory controller, fabric, caches. Of a package reading of the most frugal device
// nearly all (a rail reads 1.4 W where packages read 10 to 20); laptops without any such reading take about 10 W.
constexpr double kBaseShare = 0.9, kBaseGuessW = 10;
// Of +-30 %, evenly spread; and where a rate is that of another machine.
constexpr double kSpecLogError = 0.17, kGuessLogError = 0.35;

struct SocRow {
  std::string soc, device, kind, memory, power_source, basis;
  std::optional<double> fp16, int8, effective, bandwidth, soc_bandwidth, launch_us, power_w;
  PowerSource source = PowerSource::kUnavailable;
  std::string where;
};

const KindPrior* FindPrior(std::string_view kind) {
  const auto* const found = std::ranges::find(kPriors, kind, &KindPrior::kind);
  return found == std::end(kPriors) ? nullptr : found;
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

Result<std::vector<SocRow>> ReadRows(std::string_view csv, std::string_view file_name) {
  const std::vector<std::string> columns{"soc",           "device",
                                         "kind",          "fp16_tflops",
                                         "int8_tops",     "effective_gemm_tflops",
                                         "bandwidth_gbs", "soc_bandwidth_gbs",
                                         "memory",        "launch_us",
                                         "power_w",       "power_source",
                                         "basis"};
  LEM_ASSIGN_OR_RETURN(const CsvTable table, CsvTable::Parse(csv, std::string(file_name), columns));
  std::vector<SocRow> rows;
  for (size_t i = 0; i < table.num_rows(); ++i) {
    const auto text = [&](std::string_view column) { return std::string(table.Text(i, column)); };
    SocRow row{text("soc"), text("device"), text("kind"), text("memory"), text("power_source"), text("basis")};
    row.where = table.Where(i);
    if (!IsPlainName(row.soc) || !IsPlainName(row.device)) {
      return InvalidArgument("{}: soc and device must be names of a-z, 0-9, '_' and '-', at most 64 long", row.where);
    }
    if (FindPrior(row.kind) == nullptr) {
      return InvalidArgument("{}: kind of device '{}' is '{:.40}'; allowed: cpu, gpu, npu", row.where, row.device,
                             row.kind);
    }
    const std::pair<std::string_view, std::optional<double>*> numbers[] = {{"fp16_tflops", &row.fp16},
                                                                           {"int8_tops", &row.int8},
                                                                           {"effective_gemm_tflops", &row.effective},
                                                                           {"bandwidth_gbs", &row.bandwidth},
                                                                           {"soc_bandwidth_gbs", &row.soc_bandwidth},
                                                                           {"launch_us", &row.launch_us},
                                                                           {"power_w", &row.power_w}};
    for (const auto& [column, value] : numbers) {
      LEM_ASSIGN_OR_RETURN(*value, table.Number(i, column));
      // Numbers that no machine has: they would only overflow later.
      if (*value && (**value > 1e7 || (**value > 0 && **value < 1e-6))) {
        return InvalidArgument("{}: {} is {}; allowed: 0.000001 to 10000000", row.where, column, **value);
      }
      if (*value && **value == 0 && column != "launch_us") value->reset();
    }
    if (!row.power_source.empty()) {
      Result<PowerSource> source = ParsePowerSource(row.power_source);
      if (!source.ok()) return std::move(source).status().WithContext(row.where);
      row.source = *source;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

// "pcie4x16_25gbs": a memory of its own behind a bus of 25 GB/s. nullopt: the host's.
Result<std::optional<double>> BusGbs(const SocRow& row) {
  if (row.memory == "shared") return std::optional<double>();
  std::string_view text = row.memory;
  const size_t begin = text.rfind('_');
  if (begin != std::string_view::npos && text.ends_with("gbs")) {
    text = text.substr(begin + 1, text.size() - begin - 4);
    double gbs = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), gbs);
    if (error == std::errc() && end == text.data() + text.size() && gbs >= 1e-3 && gbs <= 1e6) {
      return std::optional<double>(gbs);
    }
  }
  return InvalidArgument("{}: memory is '{:.40}'; allowed: shared, or a bus such as pcie4x16_25gbs", row.where,
                         row.memory);
}

// Fills in what rows leave empty from other rows.
class Guesser {
 public:
  explicit Guesser(const std::vector<SocRow>& rows) : rows_(rows) {}

  std::optional<double> Bandwidth(const SocRow& row) const {
    return row.soc_bandwidth ? std::optional(kSpecBandwidthShare * *row.soc_bandwidth) : std::nullopt;
  }

  std::optional<double> Effective(const SocRow& row) const {
    const double share = FindPrior(row.kind)->peak_share;
    const std::optional<double> peak = row.fp16 ? row.fp16 : row.int8 ? std::optional(*row.int8 / 2) : std::nullopt;
    if (share > 0 && peak) return share * *peak;
    // Cores grow with the bandwidth that is put beside them.
    const SocRow* const donor = Nearest(row, [](const SocRow& r) { return r.effective && r.soc_bandwidth; });
    if (donor == nullptr || !row.soc_bandwidth) return std::nullopt;
    // The file has no rule for this, so the guess is taken at its low end: plans should lean on what is known.
    return *donor->effective * *row.soc_bandwidth / *donor->soc_bandwidth * std::exp(-kGuessLogError);
  }

  struct Power {
    double watts = 0;
    PowerSource source = PowerSource::kUnavailable;
  };
  // From a device of the same kind, in proportion to a third device that both SoCs know the watts of.
  std::optional<Power> Watts(const SocRow& row) const {
    const SocRow* const known = Known(row.soc, PowerSource::kUnavailable, "");
    const SocRow* const donor = Nearest(row, [&](const SocRow& r) {
      return r.power_w && r.source != PowerSource::kUnavailable && (known == nullptr || r.source == known->source);
    });
    if (donor == nullptr) return std::nullopt;
    Power power{*donor->power_w, donor->source};
    // Wider devices run at lower clocks: watts grow more slowly than peaks.
    if (row.fp16 && donor->fp16) power.watts *= std::sqrt(*row.fp16 / *donor->fp16);
    const SocRow* const same = known != nullptr ? Known(donor->soc, donor->source, known->kind) : nullptr;
    if (same != nullptr) power.watts *= *known->power_w / *same->power_w;
    return power;
  }

 private:
  template <typename Usable>
  const SocRow* Nearest(const SocRow& row, const Usable& usable) const {
    const SocRow* best = nullptr;
    double best_distance = INFINITY;
    for (const SocRow& other : rows_) {
      if (other.kind != row.kind || other.soc == row.soc || !usable(other)) continue;
      const bool comparable = other.soc_bandwidth && row.soc_bandwidth;
      const double distance = comparable ? std::abs(std::log(*other.soc_bandwidth / *row.soc_bandwidth)) : 1e3;
      if (distance < best_distance) best = &other, best_distance = distance;
    }
    return best;
  }
  // A device of the SoC whose watts are known; any source and any kind if not given.
  const SocRow* Known(std::string_view soc, PowerSource source, std::string_view kind) const {
    const auto found = std::ranges::find_if(rows_, [&](const SocRow& r) {
      return r.soc == soc && r.power_w && r.source != PowerSource::kUnavailable &&
             (source == PowerSource::kUnavailable || r.source == source) && (kind.empty() || r.kind == kind);
    });
    return found == rows_.end() ? nullptr : &*found;
  }

  const std::vector<SocRow>& rows_;
};

GemmCurve CurveOf(const KindPrior& prior, double tflops) {
  GemmCurve curve;
  for (double rows = 1; rows <= 8192; rows *= 2) {
    const double share = std::max(prior.single_row_share, rows / (rows + prior.half_rate_rows));
    curve.points.push_back({rows, tflops * share});
  }
  return curve;
}

// Few rows, then whole tiles of 128.
std::vector<int64_t> StaticBuckets() {
  std::vector<int64_t> buckets{1, 4, 8, 16, 32, 64};
  for (int64_t rows = 128; rows <= 4096; rows += 128) buckets.push_back(rows);
  return buckets;
}

Result<DeviceProfile> MakeDevice(const SocRow& row, const Guesser& guesser) {
  const KindPrior& prior = *FindPrior(row.kind);
  DeviceProfile device{.id = row.device, .kind = row.kind, .name = row.device};
  const auto missing = [&](std::string_view column) {
    return InvalidArgument("{}: {} of device '{}' is empty and nothing in the file tells it", row.where, column,
                           row.device);
  };
  std::optional<double> effective = row.effective, bandwidth = row.bandwidth;
  if (!effective) {
    effective = guesser.Effective(row);
    device.guesses.emplace_back("effective_gemm_tflops");
  }
  if (!effective) return missing("effective_gemm_tflops");
  if (!bandwidth) {
    bandwidth = guesser.Bandwidth(row);
    device.guesses.emplace_back("bandwidth_gbs");
  }
  if (!bandwidth) return missing("bandwidth_gbs");
  device.gemm = {CurveOf(prior, *effective)};
  device.bandwidth_gbs = *bandwidth;
  device.attention_tflops = prior.attention_tflops;
  device.expert_bandwidth_share = prior.expert_bandwidth_share;
  device.kv_bits = prior.kv_bits;
  if (!row.launch_us) device.guesses.emplace_back("launch_us");
  device.launch_us = row.launch_us.value_or(prior.launch_us);
  device.sync_us = prior.sync_us;
  device.layer_us = prior.layer_us;
  device.many_rows_layer_us = prior.many_rows_layer_us;
  device.expert_dispatch_us = prior.expert_dispatch_share * device.launch_us;
  if (prior.static_shapes) device.row_buckets = StaticBuckets();
  device.expert_gemm_share = prior.expert_gemm_share;
  device.log_error = device.Guessed("effective_gemm_tflops") ? kGuessLogError : kSpecLogError;
  device.power = {.source = row.source, .busy_w = row.power_w.value_or(0)};
  if (!row.power_w || row.source == PowerSource::kUnavailable) {
    const std::optional<Guesser::Power> power = guesser.Watts(row);
    device.power = {.source = power ? power->source : PowerSource::kUnavailable, .busy_w = power ? power->watts : 0};
    device.guesses.emplace_back("power_w");
  }
  return device;
}

double BaseWatts(const MachineProfile& machine) {
  double least = INFINITY;
  for (const DeviceProfile& device : machine.devices) {
    if (device.power.source == PowerSource::kPackage) least = std::min(least, device.power.busy_w);
  }
  return std::isfinite(least) ? kBaseShare * least : kBaseGuessW;
}

}  // namespace

Result<std::vector<MachineProfile>> ParseSocProfiles(std::string_view csv, std::string_view file_name) {
  LEM_ASSIGN_OR_RETURN(const std::vector<SocRow> rows, ReadRows(csv, file_name));
  const Guesser guesser(rows);
  std::vector<MachineProfile> machines;
  for (const SocRow& row : rows) {
    auto machine = std::ranges::find(machines, row.soc, &MachineProfile::id);
    if (machine == machines.end()) {
      MachineProfile& added = machines.emplace_back();
      added.id = row.soc;
      added.source = "published";
      machine = std::prev(machines.end());
    }
    if (machine->Find(row.device) >= 0) {
      return InvalidArgument("{}: device '{}' of '{}' is there twice", row.where, row.device, row.soc);
    }
    LEM_ASSIGN_OR_RETURN(DeviceProfile device, MakeDevice(row, guesser));
    LEM_ASSIGN_OR_RETURN(const std::optional<double> bus_gbs, BusGbs(row));
    if (bus_gbs) {
      device.space = static_cast<SpaceId>(machine->devices.size()) + 1;
      machine->copies.push_back({device.space, kHostSpace, *bus_gbs, 10});
      machine->copies.push_back({kHostSpace, device.space, *bus_gbs, 10});
    }
    machine->dram_gbs = std::max(machine->dram_gbs, row.soc_bandwidth.value_or(0));
    machine->devices.push_back(std::move(device));
  }
  for (MachineProfile& machine : machines) {
    machine.base_w = BaseWatts(machine);
    // The hungriest device alone runs at the limit of the chip that they share.
    const PowerView rail = ViewPower(machine, PowerSource::kRail);
    for (const DeviceProfile& device : rail.machine.devices) {
      if (device.space == kHostSpace) machine.power_budget_w = std::max(machine.power_budget_w, device.power.busy_w);
    }
    LEM_TRY(CheckProfile(machine));
  }
  return machines;
}

const std::vector<MachineProfile>& KnownSocs() {
  static const std::vector<MachineProfile> kSocs = [] {
    const std::string_view csv(kPublishedSocs, static_cast<size_t>(kPublishedSocsEnd - kPublishedSocs));
    Result<std::vector<MachineProfile>> parsed = ParseSocProfiles(csv, "soc_profiles.csv");
    LEM_CHECK(parsed.ok()) << parsed.status().message();
    return *std::move(parsed);
  }();
  return kSocs;
}

Result<const MachineProfile*> FindSoc(std::string_view name) {
  const std::vector<MachineProfile>& socs = KnownSocs();
  const auto found = std::ranges::find(socs, name, &MachineProfile::id);
  if (found != socs.end()) return &*found;
  std::vector<std::string> names;
  names.reserve(socs.size());
  for (const MachineProfile& soc : socs) names.push_back(soc.id);
  return NotFound("there is no SoC '{}'{}; known: {}", name, DidYouMean(name, names), fmt::join(names, ", "));
}

}  // namespace lem
