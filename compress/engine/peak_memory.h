#pragma once

#include <cstdint>

#include <c10/core/Device.h>

namespace calipress::engine {

// The highest memory use since the object was made: resident memory of the process for a CPU stage, allocated device
// memory for a CUDA stage. One at a time per process (it resets the kernel's high-water mark).
class PeakMemory {
 public:
  explicit PeakMemory(c10::Device device);
  int64_t Bytes() const;

 private:
  c10::Device device_;
};

}  // namespace calipress::engine
