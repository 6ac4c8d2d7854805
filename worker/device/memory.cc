#include "worker/device/memory.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "compress/base/metrics.h"
#include "compress/base/thread.h"

namespace calipress::worker {
namespace {

// A limit file holds bytes, or "max" (v2), or a number near 2^63 (v1) for none.
int64_t ReadLimit(const std::string& path, int64_t otherwise) {
  std::ifstream file(path);
  int64_t bytes = 0;
  if (!(file >> bytes) || bytes <= 0) return otherwise;
  return bytes;
}

// A group's limit holds for what lies below it, so every folder on the way up counts. In a container the path is often
// relative to another root and does not exist; the mount point itself then has the limit.
int64_t SmallestOnTheWayUp(const std::string& mount, std::string path, const std::string& file, int64_t limit) {
  for (;;) {
    limit = std::min(limit, ReadLimit(mount + path + "/" + file, limit));
    const size_t slash = path.rfind('/');
    if (path.empty() || slash == std::string::npos) return limit;
    path.resize(slash);
  }
}

class Sampler : public MemorySampler {
 public:
  Sampler(const std::string& device_kind, int64_t limit_bytes) : on_cpu_(device_kind == "cpu") {
    auto& bytes = GaugeFamily("calipress_device_memory_bytes", "Memory of the device that this worker computes on.");
    resident_ = &bytes.Add({{"kind", "resident"}});
    if (!on_cpu_) allocated_ = &bytes.Add({{"kind", "allocated"}});
    bytes.Add({{"kind", "limit"}}).Set(static_cast<double>(limit_bytes));
    peak_ = &GaugeFamily("calipress_device_memory_peak_bytes", "Most memory that this worker has ever held.").Add({});
    Sample();
    thread_ = StartThread("memory-sampler", [this] {
      std::unique_lock lock(mutex_);
      while (!wake_.wait_for(lock, std::chrono::seconds(1), [this] { return stopping_; })) Sample();
    });
  }
  ~Sampler() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
  }

 private:
  void Sample() {
    const ProcessMemory memory = ReadProcessMemory();
    resident_->Set(static_cast<double>(memory.resident_bytes));
    int64_t peak = memory.peak_bytes;
    if (!on_cpu_) {
      const auto stats = c10::CachingAllocator::StatType::AGGREGATE;
      const auto allocated = at::getDeviceAllocator(at::kCUDA)->getDeviceStats(0).allocated_bytes[size_t(stats)];
      allocated_->Set(static_cast<double>(allocated.current));
      peak = allocated.peak;
    }
    // The engine resets both marks at the start of a phase.
    most_ = std::max(most_, peak);
    peak_->Set(static_cast<double>(most_));
  }

  const bool on_cpu_;
  prometheus::Gauge* resident_;
  prometheus::Gauge* allocated_ = nullptr;
  prometheus::Gauge* peak_;
  int64_t most_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::jthread thread_;  // last: joins first
};

}  // namespace

int64_t MemoryLimit(const std::string& root) {
  int64_t limit = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  std::ifstream groups(root + "/proc/self/cgroup");
  // Lines are "hierarchy:controllers:path".
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.empty()) {
      limit = SmallestOnTheWayUp(root + "/sys/fs/cgroup", path, "memory.max", limit);
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      limit = SmallestOnTheWayUp(root + "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", limit);
    }
  }
  return limit;
}

ProcessMemory ReadProcessMemory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    int64_t kibibytes = 0;
    if (!(words >> name >> kibibytes)) continue;
    if (name == "VmRSS:") memory.resident_bytes = kibibytes * 1024;
    if (name == "VmHWM:") memory.peak_bytes = kibibytes * 1024;
  }
  return memory;
}

std::unique_ptr<MemorySampler> MemorySampler::Start(const std::string& device_kind, int64_t limit_bytes) {
  return std::make_unique<Sampler>(device_kind, limit_bytes);
}

}  // namespace calipress::worker
