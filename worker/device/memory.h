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
  int64_t peak_bytes = 0;  // since the kernel's mark was last reset, which the engine does at every phase
};
ProcessMemory ReadProcessMemory();

// Keeps calipress_device_memory_bytes{kind} and calipress_device_memory_peak_bytes up to date while it lives, from a
// thread of its own. Kinds: "resident" (the process in main memory), "limit" and, on an accelerator, "allocated"; the
// peak is of allocated memory there and of resident memory on a CPU.
class MemorySampler {
 public:
  virtual ~MemorySampler() = default;
  static std::unique_ptr<MemorySampler> Start(const std::string& device_kind, int64_t limit_bytes);
};

}  // namespace calipress::worker
