#include "telemetry/amdxdna_power.h"

#include <fcntl.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "telemetry/power_sensor.h"
#include "telemetry/sysfs.h"

namespace lem {
namespace amdxdna {

std::optional<double> WattsOfSensors(std::span<const std::byte> answer) {
  for (; answer.size() >= sizeof(Sensor); answer = answer.subspan(sizeof(Sensor))) {
    Sensor sensor;
    std::memcpy(&sensor, answer.data(), sizeof(sensor));
    if (sensor.label[0] == '\0' || sensor.type != kSensorTypePower) continue;
    const double watts = sensor.input * std::pow(10.0, sensor.unit_exponent);
    // An NPU draws a few watts; all bits set is how firmware says that it does not know.
    if (sensor.input == UINT32_MAX || watts > kMaxPlausibleWatts) return std::nullopt;
    return watts;
  }
  return std::nullopt;
}

}  // namespace amdxdna

namespace {

namespace fs = std::filesystem;

Result<PowerSample> QueryPower(const fs::path& node) {
  const int fd = ::open(node.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    const int error = errno;
    if (error == EACCES) {
      return PermissionDenied("permission: this user may not open {}; add the user to the group that owns it",
                              node.string());
    }
    return NotFound("gone: cannot open {} ({})", node.string(), std::strerror(error));
  }
  alignas(8) std::array<std::byte, 8 * sizeof(amdxdna::Sensor)> answer{};
  amdxdna::GetInfo query{.param = amdxdna::kQuerySensors,
                         .buffer_size_bytes = answer.size(),
                         .buffer = reinterpret_cast<uintptr_t>(answer.data())};
  constexpr unsigned long kRequest =
      _IOWR(amdxdna::kDrmIoctlType, amdxdna::kDrmCommandBase + amdxdna::kGetInfoCommand, amdxdna::GetInfo);
  const int error = ::ioctl(fd, kRequest, &query) == 0 ? 0 : errno;
  ::close(fd);
  if (error != 0) return Unavailable("no answer: the driver's sensor query failed ({})", std::strerror(error));
  // Drivers differ in whether they say how much they wrote; what they did not write is 0 and has no label.
  const size_t size = std::min<size_t>(query.buffer_size_bytes, answer.size());
  const std::optional<double> watts = amdxdna::WattsOfSensors(std::span(answer).first(size));
  if (!watts) return Unavailable("no answer: the NPU's driver knows no power sensor");
  return PowerSample{.energy_uj = std::nullopt, .watts = *watts};
}

}  // namespace

std::vector<PowerSensor> FindAmdxdna(const fs::path& root) {
  std::vector<PowerSensor> sensors;
  for (const fs::path& accel : sysfs::Numbered(root / "sys/class/accel", "accel")) {
    if (sysfs::LinkName(accel / "device/driver") != "amdxdna") continue;
    const std::string name = accel.filename().string();
    const std::string address = sysfs::LinkName(accel / "device");
    PowerSensor sensor{.id = "amdxdna:" + (sysfs::IsPciAddress(address) ? address : name),
                       .covers = fmt::format("npu {} ({})", address, name),
                       .part_of = "rapl:package-0",
                       .source = PowerSource::kRail};
    sensor.read = [device = accel / "device", node = root / "dev/accel" / name]() -> Result<PowerSample> {
      LEM_TRY(CheckAwake(device));
      return QueryPower(node);
    };
    sensors.push_back(std::move(sensor));
  }
  return sensors;
}

}  // namespace lem
