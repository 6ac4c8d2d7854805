#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace calipress::cli {

// Keeps worker processes running: one that ends is started again, at most kMostRestarts times.
class WorkerSupervisor {
 public:
  static constexpr int kMostRestarts = 3;

  struct Worker {
    std::string id;
    std::filesystem::path config;
    std::filesystem::path log;
  };

  // Starts `program --config CONFIG` for each. `on_give_up` is called at most once, on the supervisor's thread, when a
  // worker has ended too often or cannot be started.
  WorkerSupervisor(std::filesystem::path program, std::vector<Worker> workers,
                   std::function<void(absl::Status)> on_give_up);
  ~WorkerSupervisor();  // Stop
  WorkerSupervisor(const WorkerSupervisor&) = delete;
  WorkerSupervisor& operator=(const WorkerSupervisor&) = delete;

  // SIGTERM to all, SIGKILL to those that are still there after `grace_seconds`. Returns when all have ended.
  void Stop(double grace_seconds = 5);

 private:
  struct Process;
  void Run();
  // False where the worker is given up.
  bool Watch(Process* process);

  const std::filesystem::path program_;
  const std::vector<Worker> workers_;
  const std::function<void(absl::Status)> on_give_up_;
  std::atomic<bool> stopping_ = false;
  std::atomic<double> grace_seconds_ = 5;
  std::jthread thread_;
};

}  // namespace calipress::cli
