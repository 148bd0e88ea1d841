// What this machine's processor can do, read once by CPUID; and its memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lem {

struct CpuInfo {
  std::string vendor;  // "GenuineIntel"
  std::string brand;   // "Intel(R) Xeon(R) Processor"
  int num_cpus = 1;    // processors that this process may run on (affinity mask), not those of the machine

  // Each is true only if the processor has it and the operating system saves its registers.
  bool avx2 = false;  // with FMA and F16C, which every AVX2 processor of interest has
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, DQ and VL: the set of Skylake-SP
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx512_fp16 = false;
  bool amx_int8 = false;
  bool amx_bf16 = false;
  // AMX needs the kernel's permission too (arch_prctl ARCH_REQ_XCOMP_PERM); asked for when CpuInfo is made.
  bool amx_permitted = false;

  // Bytes of one core's data caches and of the last level; 0 = unknown.
  uint64_t l1d_bytes = 0;
  uint64_t l2_bytes = 0;
  uint64_t l3_bytes = 0;

  // Names of the features above that are present, as llama.cpp users know them: "avx2", "avx512", "amx_int8", ...
  std::vector<std::string> FeatureNames() const;
};

// The processor this process runs on; computed at the first call, then constant.
const CpuInfo& GetCpuInfo();

struct MemoryInfo {
  uint64_t total_bytes = 0;      // of the machine, or of the cgroup if that is less
  uint64_t available_bytes = 0;  // without swapping, as the kernel estimates it
  uint64_t resident_bytes = 0;   // of this process
};

// Read anew at each call from /proc and cgroup files; 0 where unknown.
MemoryInfo GetMemoryInfo();

}  // namespace lem
