// lem doctor: what this machine offers, what is missing, and what that costs.
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "apps/lem/commands.h"
#include "apps/lem/terminal.h"
#include "base/cpu_info.h"
#include "base/file.h"
#include "base/json.h"
#include "device/machine.h"
#include "runtime/store/model_store.h"
#include "telemetry/power_probe.h"

namespace lem {
namespace {

// Something a person may want to change; `cost` says what it costs to leave it.
struct Finding {
  std::string what;
  std::string cost;
};

struct Report {
  CpuInfo cpu = GetCpuInfo();
  MemoryInfo memory = GetMemoryInfo();
  DeviceListing devices;
  std::vector<PowerReading> power;
  std::filesystem::path models_folder;
  uint64_t disk_free_bytes = 0;
  size_t num_models = 0;
  std::vector<Finding> findings;
};

bool IsOnPath(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    if (::access((std::filesystem::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

// Free bytes where `folder` is or would be made.
uint64_t FreeBytes(std::filesystem::path folder) {
  std::error_code error;
  while (!std::filesystem::exists(folder, error) && folder.has_parent_path() && folder != folder.parent_path()) {
    folder = folder.parent_path();
  }
  struct statvfs info{};
  if (::statvfs(folder.c_str(), &info) != 0) return 0;
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

// Power now: counters need two reads, and a tenth of a second between gives watts to about a percent.
std::vector<PowerReading> ReadPower() {
  PowerProbe probe = PowerProbe::Open();
  std::vector<PowerReading> readings = probe.Read(std::chrono::steady_clock::now());
  const bool has_source = std::any_of(readings.begin(), readings.end(), [](const PowerReading& reading) {
    return reading.source != PowerSource::kUnavailable;
  });
  if (!has_source) return readings;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  return probe.Read(std::chrono::steady_clock::now());
}

void FindMissing(Report& report) {
  const CpuInfo& cpu = report.cpu;
  if (!cpu.avx2) {
    report.findings.push_back({"the processor has no AVX2", "answers come about ten times slower than with it"});
  } else if (!cpu.avx512) {
    report.findings.push_back({"the processor has no AVX-512", "prompts are read about half as fast as with it"});
  }
  if ((cpu.amx_int8 || cpu.amx_bf16) && !cpu.amx_permitted) {
    report.findings.push_back(
        {"the processor has AMX but the kernel does not permit it", "nothing yet: this version has no AMX kernels"});
  }
  if (std::getenv("LEM_ISA") != nullptr) {
    report.findings.push_back({fmt::format("LEM_ISA is set: kernels are '{}'", BestKernelTable().name),
                               "slower than the best kernels if it names a lower instruction set"});
  }
  if (cpu.num_cpus == 1) report.findings.push_back({"this process may use one processor", "half the speed of two"});
  if (report.memory.available_bytes < (uint64_t{1} << 30)) {
    report.findings.push_back(
        {fmt::format("only {} of memory is available", FormatBytes(report.memory.available_bytes)),
         "models larger than that are read from disk again and again, or refused"});
  }
  if (report.disk_free_bytes < (uint64_t{1} << 30)) {
    report.findings.push_back({fmt::format("only {} of disk is free for models", FormatBytes(report.disk_free_bytes)),
                               "larger models cannot be pulled"});
  }
  if (!IsOnPath("python3")) {
    report.findings.push_back({"python3 is not installed",
                               "models that come as Python packages cannot be pulled; "
                               "install python3 and python3-pip"});
  }
}

Result<Report> Examine() {
  Report report;
  report.devices = ListDevices(BestKernelTable());
  report.power = ReadPower();
  LEM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelStore> store, ModelStore::Open());
  report.models_folder = store->models_folder();
  LEM_ASSIGN_OR_RETURN(const std::vector<StoredModel> models, store->List());
  report.num_models = models.size();
  report.disk_free_bytes = FreeBytes(report.models_folder);
  FindMissing(report);
  return report;
}

void PrintJson(const Report& r) {
  JsonWriter out;
  out.BeginObject().Key("version").String(LEM_VERSION);
  out.Key("cpu")
      .BeginObject()
      .Key("name")
      .String(r.cpu.brand)
      .Key("processors")
      .Int(r.cpu.num_cpus)
      .Key("features")
      .BeginArray();
  for (const std::string& feature : r.cpu.FeatureNames()) out.String(feature);
  out.EndArray().Key("kernels").String(BestKernelTable().name).EndObject();
  out.Key("memory").BeginObject().Key("total_bytes").UInt(r.memory.total_bytes);
  out.Key("available_bytes").UInt(r.memory.available_bytes).EndObject();
  out.Key("devices").BeginArray();
  for (const DeviceCaps& device : r.devices.devices) {
    out.BeginObject().Key("id").String(device.id).Key("kind").String(DeviceKindName(device.kind));
    out.Key("name").String(device.name).Key("driver").String(device.driver);
    out.Key("emulated").Bool(device.emulated).EndObject();
  }
  out.EndArray().Key("missing_devices").BeginArray();
  for (const std::string& missing : r.devices.missing) out.String(missing);
  out.EndArray().Key("power_sources").BeginArray();
  for (const PowerReading& power : r.power) {
    out.BeginObject().Key("id").String(power.id).Key("covers").String(power.covers);
    out.Key("source").String(PowerSourceName(power.source));
    if (power.watts) out.Key("watts").Double(*power.watts);
    if (!power.part_of.empty()) out.Key("part_of").String(power.part_of);
    if (!power.why_unavailable.empty()) out.Key("why_unavailable").String(power.why_unavailable);
    out.EndObject();
  }
  out.EndArray();
  out.Key("store").BeginObject().Key("folder").String(r.models_folder.string());
  out.Key("models").UInt(r.num_models).Key("free_bytes").UInt(r.disk_free_bytes).EndObject();
  out.Key("findings").BeginArray();
  for (const Finding& finding : r.findings) {
    out.BeginObject().Key("what").String(finding.what).Key("cost").String(finding.cost).EndObject();
  }
  out.EndArray().EndObject();
  PrintLine(stdout, out.text());
}

void PrintText(const Report& r) {
  PrintLine(stdout, fmt::format("lem        {}", LEM_VERSION));
  PrintLine(stdout, fmt::format("processor  {}, {} usable", r.cpu.brand, r.cpu.num_cpus));
  PrintLine(stdout, fmt::format("features   {}", fmt::join(r.cpu.FeatureNames(), " ")));
  PrintLine(stdout, fmt::format("kernels    {}", BestKernelTable().name));
  PrintLine(stdout, fmt::format("memory     {}, {} available", FormatBytes(r.memory.total_bytes),
                                FormatBytes(r.memory.available_bytes)));
  PrintLine(stdout, fmt::format("models     {} in {}, {} free", r.num_models, r.models_folder.string(),
                                FormatBytes(r.disk_free_bytes)));
  for (const DeviceCaps& device : r.devices.devices) {
    PrintLine(stdout, fmt::format("device     {}: {}, {}{}", device.id, device.name, device.driver,
                                  device.emulated ? ", emulated" : ""));
  }
  for (const std::string& missing : r.devices.missing) PrintLine(stdout, fmt::format("no device  {}", missing));
  for (const PowerReading& power : r.power) {
    if (power.source == PowerSource::kUnavailable) {
      PrintLine(stdout, fmt::format("no power   {}: {}, {}", power.id, power.covers, power.why_unavailable));
    } else {
      PrintLine(stdout, fmt::format("power      {}: {}, {}{}", power.id, power.covers, PowerSourceName(power.source),
                                    power.watts ? fmt::format(", {:.1f} W", *power.watts) : ""));
    }
  }
  if (r.findings.empty()) PrintLine(stdout, "\nNothing is missing.");
  for (const Finding& finding : r.findings)
    PrintLine(stdout, fmt::format("\n! {}\n  cost: {}", finding.what, finding.cost));
}

}  // namespace

void RegisterDoctor(CLI::App& app, Action& action) {
  auto json = std::make_shared<bool>(false);  // shared by the parser and the action
  CLI::App* command = app.add_subcommand("doctor", "Show what this machine offers and what is missing");
  command->add_flag("--json", *json, "Print one JSON object");
  command->callback([json, &action] {
    action = [json] {
      const Result<Report> report = Examine();
      if (!report.ok()) return Finish(report.status());
      *json ? PrintJson(*report) : PrintText(*report);
      return 0;
    };
  });
}

}  // namespace lem
