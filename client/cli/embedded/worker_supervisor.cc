#include "client/cli/embedded/worker_supervisor.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/embedded/child_process.h"
#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/thread.h"

namespace calipress::cli {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(25);
// What made a worker end may pass: a port in use, memory that another one gives back.
constexpr double kPauseSeconds = 0.3;
constexpr size_t kLongestLine = 400;

// The end of a log, for a message: most often why its program ended.
std::string LastLine(const std::filesystem::path& log) {
  std::ifstream file(log);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) last = std::move(line);
  }
  return last.substr(0, kLongestLine);
}

}  // namespace

struct WorkerSupervisor::Process {
  const Worker* worker;
  pid_t pid = 0;  // 0: not running
  int starts = 0;
  std::optional<Stopwatch> ended = {};
  std::string end = {};  // how
};

WorkerSupervisor::WorkerSupervisor(std::filesystem::path program, std::vector<Worker> workers,
                                   std::function<void(absl::Status)> on_give_up)
    : program_(std::move(program)), workers_(std::move(workers)), on_give_up_(std::move(on_give_up)) {
  // Children end with the thread that started them, so one thread starts all of them and lives as long as they.
  thread_ = StartThread("workers", [this] { Run(); });
}

WorkerSupervisor::~WorkerSupervisor() { Stop(); }

void WorkerSupervisor::Stop(double grace_seconds) {
  grace_seconds_ = grace_seconds;
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

bool WorkerSupervisor::Watch(Process* process) {
  if (process->pid != 0) {
    const auto ended = ChildEnd(process->pid);
    if (!ended) return true;
    process->pid = 0;
    process->ended.emplace();
    process->end = *ended;
    LogWarning("a worker process ended",
               {{"worker", process->worker->id}, {"end", process->end}, {"starts", process->starts}});
  }
  if (process->starts > kMostRestarts) {
    const std::string last = LastLine(process->worker->log);
    on_give_up_(EnvironmentError(
        reason::kWorkerLost,
        absl::StrCat(process->worker->id, " ended ", process->starts, " times, last with ", process->end, "; its log, ",
                     process->worker->log.string(), last.empty() ? ", is empty" : ", ends with: ", last)));
    return false;
  }
  if (process->ended && process->ended->Seconds() < kPauseSeconds) return true;
  ++process->starts;
  const auto started = StartChild(program_, {"--config", process->worker->config.string()}, process->worker->log);
  if (!started.ok()) {
    on_give_up_(started.status());
    return false;
  }
  process->pid = *started;
  return true;
}

void WorkerSupervisor::Run() {
  std::vector<Process> processes;
  for (const Worker& worker : workers_) processes.push_back({&worker});
  bool given_up = false;
  while (!stopping_) {
    for (Process& process : processes) {
      if (!given_up && !stopping_) given_up = !Watch(&process);
    }
    std::this_thread::sleep_for(kPoll);
  }
  for (const Process& process : processes) {
    if (process.pid != 0) kill(process.pid, SIGTERM);
  }
  const Stopwatch stopwatch;
  bool killed = false;
  while (true) {
    bool running = false;
    for (Process& process : processes) {
      if (process.pid != 0 && ChildEnd(process.pid)) process.pid = 0;
      running = running || process.pid != 0;
    }
    if (!running) return;
    if (!killed && stopwatch.Seconds() > grace_seconds_) {
      killed = true;
      for (const Process& process : processes) {
        if (process.pid != 0) kill(process.pid, SIGKILL);
      }
    }
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace calipress::cli
