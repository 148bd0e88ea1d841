// A stand-in for NVIDIA's library, for tests: three cards, driven by environment variables so that a test needs no
// symbols of it. Card 0 counts energy (LEM_FAKE_NVML_ENERGY_MJ), card 1 has only power (LEM_FAKE_NVML_POWER_MW), card 2
// refuses. LEM_FAKE_NVML_ERROR makes every call fail with that number.
#include <cstdlib>
#include <cstring>

namespace {

char cards[3];  // their addresses are the handles

unsigned long long Number(const char* variable, unsigned long long fallback) {
  const char* value = std::getenv(variable);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : fallback;
}

int Error() { return static_cast<int>(Number("LEM_FAKE_NVML_ERROR", 0)); }
constexpr int kNotSupported = 3, kNoPermission = 4;

}  // namespace

extern "C" {

int nvmlInit_v2() { return Error(); }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 3;
  return Error();
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = &cards[index];
  return Error();
}

int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  std::strncpy(name, device == &cards[0] ? "Fake H200" : "Fake card", length);
  return Error();
}

int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* energy_mj) {
  if (device == &cards[1]) return kNotSupported;
  if (device == &cards[2]) return kNoPermission;
  *energy_mj = Number("LEM_FAKE_NVML_ENERGY_MJ", 0);
  return Error();
}

int nvmlDeviceGetPowerUsage(void* device, unsigned* power_mw) {
  if (device == &cards[2]) return kNoPermission;
  *power_mw = static_cast<unsigned>(Number("LEM_FAKE_NVML_POWER_MW", 0));
  return Error();
}

}  // extern "C"
