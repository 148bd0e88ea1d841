// The power of AMD's NPUs, which the driver amdxdna tells by an ioctl only.
//
// The structs mirror the kernel's interface (include/uapi/drm/amdxdna_accel.h, since Linux 6.14); their layout is
// checked at compile time. Not run: there was no such NPU to try the ioctl on; reading the answer is tested on bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace lem::amdxdna {

inline constexpr uint32_t kQuerySensors = 4;    // of GetInfo::param
inline constexpr uint8_t kSensorTypePower = 0;  // of Sensor::type
inline constexpr unsigned kGetInfoCommand = 7;  // after DRM's first driver command
inline constexpr unsigned kDrmCommandBase = 0x40;
inline constexpr char kDrmIoctlType = 'd';

// A query: `param` says what of, `buffer` takes the answer of at most `buffer_size_bytes`.
struct GetInfo {
  uint32_t param;
  uint32_t buffer_size_bytes;  // in: room, out: bytes that were or would have been written
  uint64_t buffer;             // address
};
static_assert(sizeof(GetInfo) == 16 && offsetof(GetInfo, buffer) == 8);

// One element of the answer to kQuerySensors.
struct Sensor {
  char label[64];  // "Total Power"
  uint32_t input;  // now
  uint32_t max;
  uint32_t average;
  uint32_t highest;
  char status[64];
  char units[16];
  int8_t unit_exponent;  // value * 10^exponent is in the unit without a prefix, watts
  uint8_t type;
  uint8_t padding[6];
};
static_assert(sizeof(Sensor) == 168 && offsetof(Sensor, input) == 64 && offsetof(Sensor, status) == 80 &&
              offsetof(Sensor, units) == 144 && offsetof(Sensor, unit_exponent) == 160 &&
              offsetof(Sensor, type) == 161);

// Watts of the first power sensor of an answer; empty if there is none or its number is out of bounds.
std::optional<double> WattsOfSensors(std::span<const std::byte> answer);

}  // namespace lem::amdxdna
