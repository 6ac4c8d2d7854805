#include "worker/device/threads.h"

#include <ATen/Parallel.h>
#include <c10/util/Logging.h>
#include <sched.h>

#include <cstdlib>
#include <thread>

namespace calipress::worker {
namespace {

int AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int UseThreads(int threads) {
  const int count = threads > 0 ? threads : std::max(1, AllowedCpus());
  at::set_num_threads(count);
  at::set_num_interop_threads(1);
  return count;
}

void QuietTorchLog() {
  setenv("TORCH_CPP_LOG_LEVEL", "FATAL", /*overwrite=*/0);
  c10::initLogging();
}

}  // namespace calipress::worker
