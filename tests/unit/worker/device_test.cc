#include "worker/device/device.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "compress/base/error.h"
#include "compress/base/metrics.h"
#include "worker/device/cuda_module.h"
#include "worker/device/memory.h"
#include "worker/device/threads.h"

namespace calipress::worker {
namespace {

// A folder that stands for "/".
class MemoryLimitTest : public ::testing::Test {
 protected:
  MemoryLimitTest() : root_(std::filesystem::temp_directory_path() / ("device_test_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(root_);
  }
  ~MemoryLimitTest() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  int64_t Limit() const { return MemoryLimit(root_.string()); }

  const int64_t machine_ = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  std::filesystem::path root_;
};

TEST_F(MemoryLimitTest, WithoutControlGroupsItIsTheMachines) { EXPECT_EQ(Limit(), machine_); }

TEST_F(MemoryLimitTest, TheSmallestLimitOnTheWayUpHolds) {
  Write("proc/self/cgroup", "0::/kube/pod/container\n");
  Write("sys/fs/cgroup/kube/pod/container/memory.max", "max\n");
  Write("sys/fs/cgroup/kube/pod/memory.max", "1073741824\n");
  Write("sys/fs/cgroup/kube/memory.max", "2147483648\n");
  EXPECT_EQ(Limit(), 1073741824);
}

TEST_F(MemoryLimitTest, AContainersOwnMountPointCounts) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/memory.max", "536870912\n");
  EXPECT_EQ(Limit(), 536870912);
}

TEST_F(MemoryLimitTest, VersionOneIsReadToo) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/abc\n");
  Write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "268435456\n");
  EXPECT_EQ(Limit(), 268435456);
  Write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Limit(), machine_);
}

double Gauge(const std::string& family, const std::string& kind) {
  for (const auto& metric_family : Metrics().Collect()) {
    if (metric_family.name != family) continue;
    for (const auto& metric : metric_family.metric) {
      if (kind.empty() || (!metric.label.empty() && metric.label[0].value == kind)) return metric.gauge.value;
    }
  }
  return -1;
}

TEST(MemorySamplerTest, FollowsTheProcessAndKeepsThePeak) {
  auto sampler = MemorySampler::Start("cpu", 12345);
  EXPECT_EQ(Gauge("calipress_device_memory_bytes", "limit"), 12345);
  const double before = Gauge("calipress_device_memory_bytes", "resident");
  EXPECT_GT(before, 1 << 20);
  constexpr size_t kBytes = 200 << 20;
  // From the system and back to it: allocators may keep what is freed (the address sanitizer's does).
  void* block = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_GT(Gauge("calipress_device_memory_bytes", "resident"), before + kBytes / 2);
  munmap(block, kBytes);
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  EXPECT_LT(Gauge("calipress_device_memory_bytes", "resident"), before + kBytes / 2);
  EXPECT_GT(Gauge("calipress_device_memory_peak_bytes", ""), before + kBytes / 2);
}

TEST(DeviceTest, TheCpuHasANameAndALimit) {
  const auto device = OpenDevice("cpu");
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(device->collective_backend, "gloo");
  EXPECT_FALSE(device->name.empty());
  EXPECT_GT(device->memory_bytes, 0);
}

TEST(DeviceTest, AnUnknownKindIsTheUsersError) {
  EXPECT_EQ(ErrorClassOf(OpenDevice("tpu").status()), ErrorClass::kUser);
}

TEST(CudaModuleTest, AMissingModuleSaysWhereItWasLookedForAndWhatToDo) {
  const auto module = LoadCudaModule({"/nowhere/bin", "/nowhere/lib"});
  EXPECT_EQ(ErrorReason(module.status()), reason::kDeviceUnavailable);
  EXPECT_EQ(ErrorClassOf(module.status()), ErrorClass::kEnvironment);
  for (const char* part : {"/nowhere/bin and /nowhere/lib", "device: cpu"}) {
    EXPECT_NE(module.status().message().find(part), std::string::npos) << module.status();
  }
}

TEST(CudaModuleTest, AFileThatIsNoLibrarySaysWhy) {
  const auto folder = std::filesystem::temp_directory_path() / ("cuda_module_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "libcalipress_cuda.so") << "not a library";
  const auto module = LoadCudaModule({folder.string()});
  EXPECT_EQ(ErrorReason(module.status()), reason::kDeviceUnavailable);
  EXPECT_NE(module.status().message().find("cannot be loaded"), std::string::npos) << module.status();
  std::filesystem::remove_all(folder);
}

TEST(ThreadsTest, HoldForEveryThreadThatComputes) {
  EXPECT_EQ(UseThreads(2), 2);
  EXPECT_EQ(at::get_num_threads(), 2);
  int elsewhere = 0;
  std::thread([&] {
    at::init_num_threads();
    elsewhere = at::get_num_threads();
  }).join();
  EXPECT_EQ(elsewhere, 2);
}

}  // namespace
}  // namespace calipress::worker
