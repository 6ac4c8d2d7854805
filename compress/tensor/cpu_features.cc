#include "compress/tensor/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace calipress::tensor {

#if defined(__x86_64__)

bool CpuHasAmxBf16() {
  // Leaf 7, EDX bit 22; the compilers' own name for it differs between versions.
  static const bool has = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 22 & 1u) != 0 && CpuHasAvx512();
  }();
  return has;
}

bool CpuHasAvx512Bf16() {
  static const bool has = __builtin_cpu_supports("avx512bf16") && CpuHasAvx512();
  return has;
}

bool CpuHasFastAvx512Bf16() {
  static const bool fast = CpuHasAvx512Bf16() && __builtin_cpu_is("amd");
  return fast;
}

bool CpuHasAvx512Fp16() {
  // Leaf 7, EDX bit 23; gcc 12's own check does not know the name.
  static const bool has = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 23 & 1u) != 0 && CpuHasAvx512();
  }();
  return has;
}

bool CpuHasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("fma");
  return has;
}

bool CpuHasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}

#else

bool CpuHasAmxBf16() { return false; }
bool CpuHasAvx512Bf16() { return false; }
bool CpuHasFastAvx512Bf16() { return false; }
bool CpuHasAvx512Fp16() { return false; }
bool CpuHasAvx512() { return false; }
bool CpuHasAvx2() { return false; }

#endif

}  // namespace calipress::tensor
