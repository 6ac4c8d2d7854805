#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace calipress::worker {

// What a worker computes on.
struct Device {
  std::string kind;                // "cpu" or "cuda": Capabilities.device
  std::string name;                // for people: the processor's or the accelerator's model
  std::string collective_backend;  // the name in compress/collective: "gloo" or "nccl"
  std::string cuda_version;        // "none" on a CPU
  int64_t memory_bytes = 0;        // what a stage may use: main memory, or the accelerator's
};

// Makes the device ready. Call at the start of main, before any use of libtorch: libtorch asks only once whether there
// is CUDA, so for "cuda" the CUDA module is loaded here. DEVICE_UNAVAILABLE (environment) says what is missing and what
// to do; an unknown kind is the user's error.
absl::StatusOr<Device> OpenDevice(const std::string& kind);

}  // namespace calipress::worker
