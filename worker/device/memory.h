#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace calipress::worker {

// Bytes this process may use: the smallest of the machine's memory and the limits of its control groups (v1 and v2),
// read below `root` ("" for the real /proc and /sys; tests bring their own).
int64_t MemoryLimit(const std::string& root = "");

struct ProcessMemory {
  int64_t resident_bytes = 0;
  int64_t peak_bytes = 0;  // since the process began
};
ProcessMemory ReadProcessMemory();

// Keeps calipress_device_memory_bytes{kind="resident"|"limit"} and calipress_device_memory_peak_bytes up to date while
// it lives, from a thread of its own.
class MemorySampler {
 public:
  virtual ~MemorySampler() = default;
  static std::unique_ptr<MemorySampler> Start(int64_t limit_bytes);
};

}  // namespace calipress::worker
