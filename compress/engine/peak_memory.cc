#include "compress/engine/peak_memory.h"

#include <fstream>
#include <sstream>
#include <string>

#include <c10/core/CachingDeviceAllocator.h>

namespace calipress::engine {
namespace {

c10::DeviceAllocator* DeviceAllocatorOf(c10::Device device) {
  return dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
}

int64_t HighWaterMark() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmHWM:", 0) == 0) {
      std::istringstream fields(line.substr(6));
      int64_t kilobytes = 0;
      fields >> kilobytes;
      return kilobytes * 1024;
    }
  }
  return 0;
}

}  // namespace

PeakMemory::PeakMemory(c10::Device device) : device_(device) {
  if (device_.is_cpu()) {
    // 5: reset the peak resident set size (proc(5)).
    std::ofstream("/proc/self/clear_refs") << "5";
  } else if (auto* allocator = DeviceAllocatorOf(device_)) {
    allocator->resetPeakStats(device_.has_index() ? device_.index() : 0);
  }
}

int64_t PeakMemory::Bytes() const {
  if (device_.is_cpu()) return HighWaterMark();
  if (auto* allocator = DeviceAllocatorOf(device_)) {
    const auto stats = allocator->getDeviceStats(device_.has_index() ? device_.index() : 0);
    return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  }
  return 0;
}

}  // namespace calipress::engine
