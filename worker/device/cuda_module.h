#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::worker {

// What libcalipress_cuda.so says of itself and of the accelerator.
struct CudaModule {
  std::string device_name;
  std::string cuda_version;
  int64_t memory_bytes = 0;
};

// Loads libcalipress_cuda.so from the first of the folders that has it and lets it register what it brings (the nccl
// backend). It stays loaded. DEVICE_UNAVAILABLE where it is missing, cannot be loaded, was built from other sources, or
// finds no accelerator.
absl::StatusOr<CudaModule> LoadCudaModule(const std::vector<std::string>& folders);

// Beside the program, and ../lib from there.
std::vector<std::string> CudaModuleFolders();

}  // namespace calipress::worker
