#include "base/cpu_info.h"

#include <cpuid.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>

namespace lem {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

constexpr bool Bit(uint32_t value, int bit) { return ((value >> bit) & 1u) != 0; }

// XCR0: which register files the operating system saves.
uint64_t ReadXcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// Linux: asks for the right to use the tile data registers (Documentation/arch/x86/xstate.rst).
bool RequestAmxPermission() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureXtileData = 18;
  return ::syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtileData) == 0;
}

std::string BrandString() {
  if (Cpuid(0x80000000).eax < 0x80000004) return "unknown";
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Registers r = Cpuid(0x80000002 + i);
    std::memcpy(text + size_t{16} * i, &r, 16);
  }
  std::string brand(text);
  brand.erase(0, brand.find_first_not_of(' '));
  return brand;
}

int NumAllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

CpuInfo ReadCpuInfo() {
  CpuInfo info;
  const Registers leaf0 = Cpuid(0);
  char vendor[13] = {};
  std::memcpy(vendor, &leaf0.ebx, 4);
  std::memcpy(vendor + 4, &leaf0.edx, 4);
  std::memcpy(vendor + 8, &leaf0.ecx, 4);
  info.vendor = vendor;
  info.brand = BrandString();
  info.num_cpus = NumAllowedCpus();

  const Registers leaf1 = Cpuid(1);
  const bool os_saves_extended = Bit(leaf1.ecx, 27);
  const uint64_t xcr0 = os_saves_extended ? ReadXcr0() : 0;
  const bool os_avx = (xcr0 & 0x6) == 0x6;
  const bool os_avx512 = (xcr0 & 0xe6) == 0xe6;
  const bool os_amx = (xcr0 & 0x60000) == 0x60000;
  if (leaf0.eax >= 7) {
    const Registers leaf7 = Cpuid(7);
    const Registers leaf7_1 = leaf7.eax >= 1 ? Cpuid(7, 1) : Registers{};
    info.avx2 = os_avx && Bit(leaf7.ebx, 5) && Bit(leaf1.ecx, 12) && Bit(leaf1.ecx, 29);
    info.avx_vnni = info.avx2 && Bit(leaf7_1.eax, 4);
    info.avx512 =
        info.avx2 && os_avx512 && Bit(leaf7.ebx, 16) && Bit(leaf7.ebx, 17) && Bit(leaf7.ebx, 30) && Bit(leaf7.ebx, 31);
    info.avx512_vnni = info.avx512 && Bit(leaf7.ecx, 11);
    info.avx512_bf16 = info.avx512 && Bit(leaf7_1.eax, 5);
    info.avx512_fp16 = info.avx512 && Bit(leaf7.edx, 23);
    const bool amx_tile = os_amx && Bit(leaf7.edx, 24);
    info.amx_int8 = amx_tile && Bit(leaf7.edx, 25);
    info.amx_bf16 = amx_tile && Bit(leaf7.edx, 22);
    info.amx_permitted = amx_tile && RequestAmxPermission();
  }
  const auto cache_size = [](int name) {
    const long size = ::sysconf(name);
    return size > 0 ? static_cast<uint64_t>(size) : 0;
  };
  info.l1d_bytes = cache_size(_SC_LEVEL1_DCACHE_SIZE);
  info.l2_bytes = cache_size(_SC_LEVEL2_CACHE_SIZE);
  info.l3_bytes = cache_size(_SC_LEVEL3_CACHE_SIZE);
  return info;
}

// The first whitespace-separated number of a small file; `fallback` if there is none (cgroup files may say "max").
uint64_t ReadNumber(const char* path, uint64_t fallback) {
  std::ifstream file(path);
  uint64_t value = 0;
  return file >> value ? value : fallback;
}

}  // namespace

std::vector<std::string> CpuInfo::FeatureNames() const {
  std::vector<std::string> names;
  const auto add = [&](bool present, const char* name) {
    if (present) names.emplace_back(name);
  };
  add(avx2, "avx2");
  add(avx_vnni, "avx_vnni");
  add(avx512, "avx512");
  add(avx512_vnni, "avx512_vnni");
  add(avx512_bf16, "avx512_bf16");
  add(avx512_fp16, "avx512_fp16");
  add(amx_int8 && amx_permitted, "amx_int8");
  add(amx_bf16 && amx_permitted, "amx_bf16");
  return names;
}

const CpuInfo& GetCpuInfo() {
  static const CpuInfo info = ReadCpuInfo();
  return info;
}

MemoryInfo GetMemoryInfo() {
  MemoryInfo info;
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  uint64_t kib = 0;
  while (meminfo >> key >> kib) {
    std::getline(meminfo, unit);
    if (key == "MemTotal:") info.total_bytes = kib * 1024;
    if (key == "MemAvailable:") info.available_bytes = kib * 1024;
  }
  constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();
  const uint64_t limit = ReadNumber("/sys/fs/cgroup/memory.max", kNoLimit);
  if (limit < info.total_bytes) {
    const uint64_t used = ReadNumber("/sys/fs/cgroup/memory.current", 0);
    info.total_bytes = limit;
    info.available_bytes = std::min(info.available_bytes, limit - std::min(limit, used));
  }
  std::ifstream statm("/proc/self/statm");
  uint64_t total_pages = 0, resident_pages = 0;
  if (statm >> total_pages >> resident_pages) {
    info.resident_bytes = resident_pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  return info;
}

}  // namespace lem
