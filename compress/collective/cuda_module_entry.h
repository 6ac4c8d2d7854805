#pragma once

#include <cstdint>

// What libcalipress_cuda.so fills in when it is started. Plain C: the one thing that both sides must agree on before
// they know that they were built from the same sources.
struct CalipressCudaModule {
  // Not empty: why the module cannot be used; the rest is then empty and nothing is registered.
  char error[512];
  char device_name[256];
  char cuda_version[32];
  int64_t memory_bytes;
};

// `program_revision` is the program's BuildRevision(); a module of another revision says so and does nothing more.
using CalipressCudaModuleStart = void (*)(const char* program_revision, CalipressCudaModule* module);
inline constexpr char kCalipressCudaModuleStart[] = "calipress_cuda_module_start";
