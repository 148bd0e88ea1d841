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

constexpr int64_t kFormat = 2;  // of the file
constexpr double kMinMs = 1e-4;
constexpr double kMinDepth = 1000;  // tokens that a difference of contexts has to be for its time to mean something

// Whole steps that take longer than their parts together were interrupted by other programs: parts are too short for
// that to happen to most of them.
constexpr double kMaxInStep = 1.1;

// A step of one part as it is inside of a whole step.
struct PartSample {
  const StepMeasurement* step = nullptr;
  Part part = Part::kEmbedding;
  StepShape shape;  // the head has rows of its own
  double ms = 0;
};

// What parts take one by one is not what they take in a step: waits fall away, caches hold other things. The whole says
// how much that is.
double InStep(const StepMeasurement& step, const StepTimes& times, double launch_ms) {
  const auto own_ms = [&](Part part) { return std::max(times.part_ms[static_cast<size_t>(part)] - launch_ms, kMinMs); };
  const double apart_ms = own_ms(Part::kEmbedding) + own_ms(Part::kHead) +
                          step.model.num_layers * (own_ms(Part::kAttention) + own_ms(Part::kFeedForward));
  if (times.step_ms <= launch_ms) return 1;
  return std::min((times.step_ms - launch_ms) / apart_ms, kMaxInStep);
}

std::vector<PartSample> PartSamples(const DeviceMeasurements& device, double launch_ms, DeviceClock clock) {
  std::vector<PartSample> samples;
  for (const StepMeasurement& step : device.steps) {
    const StepTimes& times = clock == DeviceClock::kWall ? step.wall : step.device_clock;
    const double in_step = InStep(step, times, launch_ms);
    for (const Part part : {Part::kAttention, Part::kFeedForward, Part::kHead}) {
      StepShape shape = step.shape;
      if (part == Part::kHead) shape.rows = shape.sequences;  // of a prompt, only the last row is asked for
      const double ms = std::max(times.part_ms[static_cast<size_t>(part)] - launch_ms, kMinMs);
      samples.push_back({&step, part, shape, ms * in_step});
    }
  }
  return samples;
}

void AddPoint(std::vector<RatePoint>& points, const RatePoint& point) {
  const auto same = std::ranges::find(points, point.rows, &RatePoint::rows);
  if (same == points.end()) {
    points.insert(std::ranges::upper_bound(points, point.rows, {}, &RatePoint::rows), point);
  } else {
    same->tflops = std::max(same->tflops, point.tflops);
  }
}

// Rates of feed-forward products by rows, on one model.
std::vector<RatePoint> RatesOf(std::span<const PartSample> samples, const ProbeShape& model, Phase phase) {
  std::vector<RatePoint> points;
  for (const PartSample& sample : samples) {
    if (sample.part != Part::kFeedForward || sample.step->model != model || sample.shape.phase != phase) continue;
    const double parameters = 3.0 * static_cast<double>(model.hidden_size * model.intermediate_size);
    AddPoint(points, {sample.shape.rows, 2 * parameters * sample.shape.rows / sample.ms * 1e-9});
  }
  return points;
}

// Rates at every row count of `base`, from those that are known of some of them: tiles of rows are the same for all
// formats.
std::vector<RatePoint> AlongBase(const std::vector<RatePoint>& base, const std::vector<RatePoint>& known) {
  std::vector<RatePoint> shares;
  for (const RatePoint& point : known) AddPoint(shares, {point.rows, point.tflops / RateAt(base, point.rows)});
  std::vector<RatePoint> points = known;
  for (const RatePoint& point : base) {
    const bool measured = std::ranges::find(known, point.rows, &RatePoint::rows) != known.end();
    if (!measured) AddPoint(points, {point.rows, point.tflops * RateAt(shares, point.rows)});
  }
  return points;
}

// Of each weight type, on the model that it was measured with most often. The first model is measured at every row
// count that may matter; it stands for weights that were not measured, too.
std::vector<GemmCurve> CurvesOf(std::span<const PartSample> samples, Phase phase) {
  std::vector<GemmCurve> curves;
  std::vector<ProbeShape> models;
  for (const PartSample& sample : samples) {
    if (std::ranges::find(models, sample.step->model) == models.end()) models.push_back(sample.step->model);
  }
  for (const ProbeShape& model : models) {
    std::vector<RatePoint> points = RatesOf(samples, model, phase);
    if (points.empty()) continue;
    if (curves.empty()) curves.push_back({"", points});
    const std::string weights(GetDTypeInfo(model.weights).name);
    if (std::ranges::find(curves, weights, &GemmCurve::weights) != curves.end()) continue;
    curves.push_back({weights, AlongBase(curves.front().points, points)});
  }
  return curves;
}

// Scores and sums of one row count take longer behind more tokens: the difference is theirs alone.
std::vector<RatePoint> AttentionRates(std::span<const PartSample> samples, const ProbeShape& model, Phase phase) {
  const ModelWork work = WorkOfProbe(model);
  const auto attention = std::ranges::find(work.classes, Part::kAttention, &PartWork::part);
  std::vector<RatePoint> points;
  const auto of_model = [&](const PartSample& sample) {
    return sample.part == Part::kAttention && sample.step->model == model && sample.shape.phase == phase;
  };
  for (const PartSample& far : samples) {
    if (!of_model(far)) continue;
    for (const PartSample& near : samples) {
      const double tokens = far.shape.context - near.shape.context;
      if (!of_model(near) || near.shape.rows != far.shape.rows || tokens < kMinDepth) continue;
      const double ms = far.ms - near.ms;
      if (ms > kMinMs)
        AddPoint(points, {far.shape.rows, attention->flops_per_pair * tokens * far.shape.rows / ms * 1e-9});
    }
  }
  return points;
}

// One row reads every weight once. Whether it is bound by that or by arithmetic does not matter: it is never faster.
double BandwidthOf(std::span<const PartSample> samples) {
  double best_gbs = 0;
  for (const PartSample& sample : samples) {
    if (sample.part != Part::kFeedForward || sample.shape.rows != 1) continue;
    const ProbeShape& model = sample.step->model;
    const uint64_t row_bytes = *RowBytes(model.weights, static_cast<uint64_t>(model.hidden_size));
    const double bytes = 3.0 * static_cast<double>(row_bytes) * static_cast<double>(model.intermediate_size);
    best_gbs = std::max(best_gbs, bytes / sample.ms * 1e-6);
  }
  return best_gbs;
}

double LaunchMs(const DeviceMeasurements& device, DeviceClock clock) {
  return clock == DeviceClock::kWall ? device.launch_ms : device.virtual_launch_ms;
}

Result<DeviceProfile> ProfileOf(const DeviceMeasurements& device, const DeviceCaps& caps, DeviceClock clock) {
  DeviceProfile profile;
  profile.id = caps.id;
  profile.kind = DeviceKindName(caps.kind);
  profile.name = clock == DeviceClock::kVirtual ? caps.name + ", virtual clock" : caps.name;
  const double launch_ms = LaunchMs(device, clock);
  profile.launch_us = launch_ms * 1e3;
  const std::vector<PartSample> samples = PartSamples(device, launch_ms, clock);
  profile.gemm = CurvesOf(samples, Phase::kPrefill);
  profile.answer_gemm = CurvesOf(samples, Phase::kDecode);
  // A device so slow that no prompt was measured.
  if (profile.gemm.empty()) profile.gemm = profile.answer_gemm;
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    if (samples.empty()) break;
    profile.attention[static_cast<size_t>(phase)] = AttentionRates(samples, samples.front().step->model, phase);
  }
  profile.bandwidth_gbs = BandwidthOf(samples);
  if (profile.gemm.empty() || profile.bandwidth_gbs <= 0) {
    return FailedPrecondition("too little of device {} was measured: give it more time", caps.id);
  }
  profile.power = device.power;
  return profile;
}

// A device that has memory of its own is a space beside the host's.
void AddSpace(const DeviceMeasurements& device, MachineProfile& machine) {
  SpaceId& space = machine.devices.back().space;
  space = 1 + static_cast<SpaceId>(machine.copies.size() / 2);
  machine.copies.push_back({kHostSpace, space, device.copy_in.gbs, device.copy_in.latency_us});
  machine.copies.push_back({space, kHostSpace, device.copy_out.gbs, device.copy_out.latency_us});
}

// What the rates leave unexplained, part by part.
ResidualModel Learn(const CostModel& costs, int idx, const DeviceMeasurements& device, DeviceClock clock,
                    double& error) {
  std::vector<ResidualRow> rows;
  for (const PartSample& sample : PartSamples(device, LaunchMs(device, clock), clock)) {
    const ModelWork work = WorkOfProbe(sample.step->model);
    const auto part = std::ranges::find(work.classes, sample.part, &PartWork::part);
    const double predicted = costs.Predict(idx, work, *part, sample.shape).ms();
    if (!(predicted > 0)) continue;
    rows.push_back(
        {costs.Features(idx, work, *part, sample.shape), static_cast<float>(std::log(sample.ms / predicted)), 1.0f});
  }
  ResidualModel model = ResidualModel::Train(rows, {.num_trees = 200, .depth = 5, .min_leaf_weight = 2});
  error = 0;
  for (const ResidualRow& row : rows) error += std::abs(row.log_ratio - model.Predict(row.features));
  if (!rows.empty()) error /= static_cast<double>(rows.size());
  return model;
}

// --- the file ---

void WritePoints(const std::vector<RatePoint>& points, JsonWriter& out) {
  out.BeginArray();
  for (const RatePoint& point : points) out.BeginArray().Double(point.rows).Double(point.tflops).EndArray();
  out.EndArray();
}

std::vector<RatePoint> ReadPoints(const JsonValue& from) {
  std::vector<RatePoint> points;
  for (const JsonValue& point : from.as_array()) {
    points.push_back({point.at(0).to_number<double>(), point.at(1).to_number<double>()});
  }
  return points;
}

void WriteCurves(std::string_view key, const std::vector<GemmCurve>& curves, JsonWriter& out) {
  out.Key(key).BeginArray();
  for (const GemmCurve& curve : curves) {
    out.BeginObject().Key("weights").String(curve.weights).Key("points");
    WritePoints(curve.points, out);
    out.EndObject();
  }
  out.EndArray();
}

std::vector<GemmCurve> ReadCurves(const JsonValue& from) {
  std::vector<GemmCurve> curves;
  for (const JsonValue& curve : from.as_array()) {
    curves.push_back({std::string(curve.at("weights").as_string()), ReadPoints(curve.at("points"))});
  }
  return curves;
}

void WriteDevice(const DeviceProfile& device, const ResidualModel& residual, double error, JsonWriter& out) {
  out.BeginObject().Key("id").String(device.id).Key("kind").String(device.kind).Key("name").String(device.name);
  out.Key("bandwidth_gbs").Double(device.bandwidth_gbs).Key("launch_us").Double(device.launch_us);
  out.Key("sync_us").Double(device.sync_us).Key("space").Int(device.space).Key("fit_error").Double(error);
  out.Key("power").BeginArray().String(PowerSourceName(device.power.source)).Double(device.power.idle_w);
  out.Double(device.power.busy_w).EndArray().Key("row_buckets").BeginArray();
  for (const int64_t rows : device.row_buckets) out.Int(rows);
  out.EndArray();
  WriteCurves("gemm", device.gemm, out);
  WriteCurves("answer_gemm", device.answer_gemm, out);
  out.Key("attention").BeginArray();
  for (const std::vector<RatePoint>& points : device.attention) WritePoints(points, out);
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
  const JsonValue& power = from.at("power");
  LEM_ASSIGN_OR_RETURN(device.power.source, ParsePowerSource(power.at(0).as_string()));
  device.power.idle_w = power.at(1).to_number<double>();
  device.power.busy_w = power.at(2).to_number<double>();
  device.gemm = ReadCurves(from.at("gemm"));
  device.answer_gemm = ReadCurves(from.at("answer_gemm"));
  const JsonArray& attention = from.at("attention").as_array();
  for (size_t phase = 0; phase < device.attention.size(); ++phase) {
    device.attention[phase] = ReadPoints(attention.at(phase));
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
    const bool has_virtual =
        std::ranges::any_of(device.steps, [](const auto& step) { return step.device_clock.step_ms > 0; });
    const DeviceClock own_clock = clock == DeviceClock::kVirtual && has_virtual ? clock : DeviceClock::kWall;
    LEM_ASSIGN_OR_RETURN(machine.profile.devices.emplace_back(), ProfileOf(device, *own, own_clock));
    if (device.has_own_memory) AddSpace(device, machine.profile);
    used.push_back(&device);
    clocks.push_back(own_clock);
  }
  LEM_ASSIGN_OR_RETURN(const CostModel costs, CostModel::Create(machine.profile));
  machine.fit_error.resize(used.size());
  for (size_t i = 0; i < used.size(); ++i) {
    machine.residuals.push_back(Learn(costs, static_cast<int>(i), *used[i], clocks[i], machine.fit_error[i]));
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
  out.Key("reference_ms").Double(machine.reference_ms).Key("measured_at").Int(machine.measured_at);
  out.Key("copies").BeginArray();
  for (const CopyRate& copy : machine.profile.copies) {
    out.BeginArray().Int(copy.from).Int(copy.to).Double(copy.gbs).Double(copy.latency_us).EndArray();
  }
  out.EndArray().Key("devices").BeginArray();
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
    const auto format = root.at("format").to_number<int64_t>();
    if (format != kFormat) {
      return NotFound("a profile of format {}; this version reads format {}: run `lem profile` again", format, kFormat);
    }
    machine.profile.id = root.at("machine").as_string();
    machine.profile.source = root.at("source").as_string();
    machine.profile.dram_gbs = root.at("dram_gbs").to_number<double>();
    machine.profile.corun_slowdown = root.at("corun_slowdown").to_number<double>();
    machine.reference_ms = root.at("reference_ms").to_number<double>();
    machine.measured_at = root.at("measured_at").to_number<int64_t>();
    for (const JsonValue& copy : root.at("copies").as_array()) {
      machine.profile.copies.push_back({copy.at(0).to_number<SpaceId>(), copy.at(1).to_number<SpaceId>(),
                                        copy.at(2).to_number<double>(), copy.at(3).to_number<double>()});
    }
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
