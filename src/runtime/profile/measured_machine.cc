#include "runtime/profile/measured_machine.h"

#include <algorithm>
#include <cmath>

#include "base/cpu_info.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"

namespace lem {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFormat = 1;  // of the file
constexpr double kMinMs = 1e-4;

double MsOf(const PartMeasurement& measurement, DeviceClock clock) {
  return clock == DeviceClock::kWall ? measurement.ms : measurement.virtual_ms;
}

bool SameShape(const ProbeShape& a, const ProbeShape& b) {
  return a.hidden_size == b.hidden_size && a.intermediate_size == b.intermediate_size;
}

// Rates of feed-forward products by rows, of one weight type on the largest model measured with it.
std::vector<RatePoint> RatesOf(const DeviceMeasurements& device, DType weights, const ProbeShape& largest,
                               double launch_ms, DeviceClock clock) {
  std::vector<RatePoint> points;
  for (const PartMeasurement& m : device.parts) {
    if (m.part != Part::kFeedForward || m.model.weights != weights || !SameShape(m.model, largest)) continue;
    const double ms = std::max(MsOf(m, clock) - launch_ms, kMinMs);
    const double flops = 2.0 * 3 * static_cast<double>(m.model.hidden_size * m.model.intermediate_size) * m.shape.rows;
    const double tflops = flops / ms * 1e-9;
    const auto same = std::ranges::find(points, m.shape.rows, &RatePoint::rows);
    if (same == points.end()) {
      points.push_back({m.shape.rows, tflops});
    } else {
      same->tflops = std::max(same->tflops, tflops);
    }
  }
  std::ranges::sort(points, {}, &RatePoint::rows);
  return points;
}

// One row reads every weight once. Whether it is bound by that or by arithmetic does not matter: it is never faster.
double BandwidthOf(const DeviceMeasurements& device, double launch_ms, DeviceClock clock) {
  double best_gbs = 0;
  for (const PartMeasurement& m : device.parts) {
    if (m.part != Part::kFeedForward || m.shape.rows != 1) continue;
    const uint64_t row_bytes = *RowBytes(m.model.weights, static_cast<uint64_t>(m.model.hidden_size));
    const double bytes = 3.0 * static_cast<double>(row_bytes) * static_cast<double>(m.model.intermediate_size);
    best_gbs = std::max(best_gbs, bytes / std::max(MsOf(m, clock) - launch_ms, kMinMs) * 1e-6);
  }
  return best_gbs;
}

Result<DeviceProfile> ProfileOf(const DeviceMeasurements& device, const DeviceCaps& caps, DeviceClock clock) {
  DeviceProfile profile;
  profile.id = caps.id;
  profile.kind = DeviceKindName(caps.kind);
  profile.name = clock == DeviceClock::kVirtual ? caps.name + ", virtual clock" : caps.name;
  const double launch_ms = clock == DeviceClock::kWall ? device.launch_ms : device.virtual_launch_ms;
  profile.launch_us = launch_ms * 1e3;
  std::vector<std::pair<DType, ProbeShape>> largest;  // of each weight type that was measured
  for (const PartMeasurement& m : device.parts) {
    const auto known = std::ranges::find(largest, m.model.weights, &std::pair<DType, ProbeShape>::first);
    if (known == largest.end()) {
      largest.emplace_back(m.model.weights, m.model);
    } else if (m.model.hidden_size > known->second.hidden_size) {
      known->second = m.model;
    }
  }
  for (const auto& [dtype, shape] : largest) {
    GemmCurve curve{std::string(GetDTypeInfo(dtype).name), RatesOf(device, dtype, shape, launch_ms, clock)};
    if (curve.points.empty()) continue;
    if (dtype == DType::kQ4_K) profile.gemm.insert(profile.gemm.begin(), {"", curve.points});
    profile.gemm.push_back(std::move(curve));
  }
  if (!profile.gemm.empty() && !profile.gemm.front().weights.empty()) profile.gemm.front().weights.clear();
  profile.bandwidth_gbs = BandwidthOf(device, launch_ms, clock);
  if (profile.gemm.empty() || profile.bandwidth_gbs <= 0) {
    return FailedPrecondition("too little of device {} was measured: give it more time", caps.id);
  }
  profile.power.source = PowerSource::kUnavailable;
  return profile;
}

// What the rates leave unexplained, part by part.
ResidualModel Learn(const CostModel& costs, int idx, const DeviceMeasurements& device, double launch_ms,
                    DeviceClock clock, double& error) {
  std::vector<ResidualRow> rows;
  for (const PartMeasurement& m : device.parts) {
    const ModelWork work = WorkOfProbe(m.model);
    const auto part = std::ranges::find(work.classes, m.part, &PartWork::part);
    const double ms = std::max(MsOf(m, clock) - launch_ms, kMinMs);
    StepShape step = m.shape;
    if (m.part == Part::kHead) step.rows = step.sequences;  // of a prompt, only the last row is asked for
    const double predicted = costs.Predict(idx, work, *part, step).ms();
    if (!(predicted > 0)) continue;
    rows.push_back({costs.Features(idx, work, *part, step), static_cast<float>(std::log(ms / predicted)), 1.0f});
  }
  ResidualModel model = ResidualModel::Train(rows, {.num_trees = 200, .depth = 5, .min_leaf_weight = 2});
  error = 0;
  for (const ResidualRow& row : rows) error += std::abs(row.log_ratio - model.Predict(row.features));
  if (!rows.empty()) error /= static_cast<double>(rows.size());
  return model;
}

// --- the file ---

void WriteDevice(const DeviceProfile& device, const ResidualModel& residual, double error, JsonWriter& out) {
  out.BeginObject().Key("id").String(device.id).Key("kind").String(device.kind).Key("name").String(device.name);
  out.Key("bandwidth_gbs").Double(device.bandwidth_gbs).Key("launch_us").Double(device.launch_us);
  out.Key("sync_us").Double(device.sync_us).Key("space").Int(device.space).Key("fit_error").Double(error);
  out.Key("row_buckets").BeginArray();
  for (const int64_t rows : device.row_buckets) out.Int(rows);
  out.EndArray().Key("gemm").BeginArray();
  for (const GemmCurve& curve : device.gemm) {
    out.BeginObject().Key("weights").String(curve.weights).Key("points").BeginArray();
    for (const RatePoint& point : curve.points) {
      out.BeginArray().Double(point.rows).Double(point.tflops).EndArray();
    }
    out.EndArray().EndObject();
  }
  out.EndArray().Key("residual").Raw(residual.ToJson()).EndObject();
}

Result<DeviceProfile> ReadDevice(const JsonObject& from) {
  DeviceProfile device;
  device.id = from.at("id").as_string();
  device.kind = from.at("kind").as_string();
  device.name = from.at("name").as_string();
  device.bandwidth_gbs = from.at("bandwidth_gbs").to_number<double>();
  device.launch_us = from.at("launch_us").to_number<double>();
  device.sync_us = from.at("sync_us").to_number<double>();
  device.space = from.at("space").to_number<SpaceId>();
  for (const JsonValue& rows : from.at("row_buckets").as_array()) {
    device.row_buckets.push_back(rows.to_number<int64_t>());
  }
  for (const JsonValue& curve : from.at("gemm").as_array()) {
    GemmCurve read{std::string(curve.at("weights").as_string()), {}};
    for (const JsonValue& point : curve.at("points").as_array()) {
      read.points.push_back({point.at(0).to_number<double>(), point.at(1).to_number<double>()});
    }
    device.gemm.push_back(std::move(read));
  }
  return device;
}

// Names in a folder that begin with `prefix`, with what a link beside them points to.
void HashFolder(const fs::path& folder, std::string_view prefix, const char* detail, std::string& text) {
  std::error_code error;
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    std::string what;
    if (Result<std::string> read = ReadFile(entry.path() / detail, 4096); read.ok()) what = std::move(*read);
    names.push_back(fmt::format("{}={}", name, what));
  }
  std::ranges::sort(names);
  for (const std::string& name : names) text += name + "\n";
}

}  // namespace

ModelWork WorkOfProbe(const ProbeShape& shape) {
  const QuantBits bits = [&] {
    const double of = static_cast<double>(*RowBytes(shape.weights, static_cast<uint64_t>(shape.hidden_size))) * 8 /
                      static_cast<double>(shape.hidden_size);
    return QuantBits{std::string(GetDTypeInfo(shape.weights).name), of, of, of, of, of};
  }();
  return WorkOfShape({.name = "probe",
                      .num_layers = shape.num_layers,
                      .hidden_size = shape.hidden_size,
                      .intermediate_size = shape.intermediate_size,
                      .num_heads = shape.num_heads,
                      .num_kv_heads = shape.num_kv_heads,
                      .head_dim = shape.head_dim,
                      .vocab_size = shape.vocab_size,
                      .tied_embeddings = true},
                     bits);
}

Result<CostModel> MeasuredMachine::MakeCostModel() const {
  LEM_ASSIGN_OR_RETURN(CostModel costs, CostModel::Create(profile));
  for (size_t i = 0; i < residuals.size(); ++i) costs.SetResidual(static_cast<int>(i), residuals[i]);
  return costs;
}

Result<MeasuredMachine> MachineFrom(const std::vector<DeviceMeasurements>& devices, const std::vector<DeviceCaps>& caps,
                                    DeviceClock clock) {
  MeasuredMachine machine;
  machine.profile.id = MachineIdentity();
  machine.profile.source =
      clock == DeviceClock::kWall ? "measured" : "measured, emulated devices by their virtual clock";
  std::vector<const DeviceMeasurements*> used;
  std::vector<DeviceClock> clocks;
  for (const DeviceMeasurements& device : devices) {
    const auto own = std::ranges::find(caps, device.device_id, &DeviceCaps::id);
    const bool has_virtual = std::ranges::any_of(device.parts, [](const auto& m) { return m.virtual_ms > 0; });
    const DeviceClock own_clock = clock == DeviceClock::kVirtual && has_virtual ? clock : DeviceClock::kWall;
    LEM_ASSIGN_OR_RETURN(machine.profile.devices.emplace_back(), ProfileOf(device, *own, own_clock));
    used.push_back(&device);
    clocks.push_back(own_clock);
  }
  LEM_ASSIGN_OR_RETURN(const CostModel costs, CostModel::Create(machine.profile));
  machine.fit_error.resize(used.size());
  for (size_t i = 0; i < used.size(); ++i) {
    machine.residuals.push_back(Learn(costs, static_cast<int>(i), *used[i], machine.profile.devices[i].launch_us * 1e-3,
                                      clocks[i], machine.fit_error[i]));
  }
  return machine;
}

std::string MachineIdentity() {
  const CpuInfo& cpu = GetCpuInfo();
  std::string text = fmt::format("{} {} {} {}\n", kFormat, cpu.brand, cpu.num_cpus, fmt::join(cpu.FeatureNames(), ","));
  HashFolder("/sys/class/drm", "card", "device/uevent", text);
  HashFolder("/sys/class/accel", "accel", "device/uevent", text);
  HashFolder("/usr/share/vulkan/icd.d", "", "", text);
  HashFolder("/etc/vulkan/icd.d", "", "", text);
  Sha256 hash;
  hash.Update(std::as_bytes(std::span(text)));
  return hash.FinishHex().substr(0, 16);
}

std::string WriteMachine(const MeasuredMachine& machine) {
  JsonWriter out;
  out.BeginObject().Key("format").Int(kFormat).Key("machine").String(machine.profile.id);
  out.Key("source").String(machine.profile.source).Key("dram_gbs").Double(machine.profile.dram_gbs);
  out.Key("corun_slowdown").Double(machine.profile.corun_slowdown);
  out.Key("reference_ms").Double(machine.reference_ms).Key("devices").BeginArray();
  for (size_t i = 0; i < machine.profile.devices.size(); ++i) {
    WriteDevice(machine.profile.devices[i], machine.residuals[i], machine.fit_error[i], out);
  }
  out.EndArray().EndObject();
  return out.Take();
}

Result<MeasuredMachine> ReadMachine(std::string_view json) {
  LEM_ASSIGN_OR_RETURN(const JsonValue value, ParseJson(json));
  MeasuredMachine machine;
  try {
    const JsonObject& root = value.as_object();
    if (root.at("format").to_number<int64_t>() != kFormat) return InvalidArgument("a profile of another format");
    machine.profile.id = root.at("machine").as_string();
    machine.profile.source = root.at("source").as_string();
    machine.profile.dram_gbs = root.at("dram_gbs").to_number<double>();
    machine.profile.corun_slowdown = root.at("corun_slowdown").to_number<double>();
    machine.reference_ms = root.at("reference_ms").to_number<double>();
    for (const JsonValue& device : root.at("devices").as_array()) {
      LEM_ASSIGN_OR_RETURN(machine.profile.devices.emplace_back(), ReadDevice(device.as_object()));
      machine.fit_error.push_back(device.at("fit_error").to_number<double>());
      LEM_ASSIGN_OR_RETURN(machine.residuals.emplace_back(),
                           ResidualModel::FromJson(JsonWriter().Value(device.at("residual")).text()));
    }
  } catch (const std::exception& error) {
    return InvalidArgument("not a profile: {}", error.what());
  }
  LEM_TRY(CheckProfile(machine.profile));
  return machine;
}

fs::path ProfilesFolder() { return StateDir() / "profiles"; }

fs::path ProfilePath(const fs::path& folder, DeviceClock clock) {
  return folder / fmt::format("{}{}.json", MachineIdentity(), clock == DeviceClock::kVirtual ? "-virtual" : "");
}

Result<MeasuredMachine> LoadMachine(const fs::path& folder, DeviceClock clock) {
  const fs::path path = ProfilePath(folder, clock);
  LEM_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Result<MeasuredMachine> machine = ReadMachine(text);
  if (!machine.ok()) return machine.status().WithContext(path.string());
  return machine;
}

Status SaveMachine(const MeasuredMachine& machine, const fs::path& folder, DeviceClock clock) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Internal("{} cannot be made: {}", folder.string(), error.message());
  return WriteFileAtomic(ProfilePath(folder, clock), WriteMachine(machine));
}

}  // namespace lem
