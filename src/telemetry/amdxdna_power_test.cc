#include "telemetry/amdxdna_power.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace lem::amdxdna {
namespace {

Sensor PowerSensorOf(uint32_t input, int8_t unit_exponent) {
  Sensor sensor{};
  sensor.label[0] = 'T';
  sensor.input = input;
  sensor.unit_exponent = unit_exponent;
  return sensor;
}

TEST(AmdxdnaPowerTest, WattsOfTheFirstPowerSensor) {
  std::array<Sensor, 3> sensors{};
  sensors[0].label[0] = 'C';
  sensors[0].type = 1;  // utilisation of a column
  sensors[0].input = 50;
  sensors[1] = PowerSensorOf(1640, -3);
  sensors[2] = PowerSensorOf(9, 0);
  const std::span<const std::byte> answer = std::as_bytes(std::span(sensors));
  EXPECT_DOUBLE_EQ(*WattsOfSensors(answer), 1.64);
  EXPECT_EQ(WattsOfSensors(answer.first(2 * sizeof(Sensor) - 1)), std::nullopt);  // cut off
  EXPECT_EQ(WattsOfSensors({}), std::nullopt);
}

TEST(AmdxdnaPowerTest, NoNumberOfGarbage) {
  const auto watts = [](const Sensor& sensor) { return WattsOfSensors(std::as_bytes(std::span(&sensor, 1))); };
  EXPECT_DOUBLE_EQ(*watts(PowerSensorOf(0, -3)), 0);
  EXPECT_EQ(watts(Sensor{}), std::nullopt);  // not written by the driver
  EXPECT_EQ(watts(PowerSensorOf(UINT32_MAX, -3)), std::nullopt);
  EXPECT_EQ(watts(PowerSensorOf(1640, 127)), std::nullopt);
  EXPECT_EQ(WattsOfSensors(std::vector<std::byte>(10 * sizeof(Sensor), std::byte{0xff})), std::nullopt);
}

}  // namespace
}  // namespace lem::amdxdna
