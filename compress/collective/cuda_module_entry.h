#pragma once

#include <cstdint>

// What libcalipress_cuda.so fills in when it is loaded. Plain C: the one thing that both sides must agree on before
// they know that they were built from the same sources.
struct CalipressCudaModule {
  char revision[64];
  // Not empty: why there is no accelerator to work with; the rest is then empty and nothing is registered.
  char error[512];
  char device_name[256];
  char cuda_version[32];
  int64_t memory_bytes;
};

using CalipressCudaModuleEntry = void (*)(CalipressCudaModule* module);
inline constexpr char kCalipressCudaModuleEntry[] = "calipress_cuda_module_start";
