#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/base/cancellation.h"
#include "compress/engine/stage.h"
#include "worker/stage/executor.h"

namespace calipress::worker {

// One assignment at work on a thread of its own, and what is to be reported of it.
class RunningStage : private engine::StageObserver {
 public:
  // `executor` outlives it.
  RunningStage(StageExecutor* executor, worker::v1::Assignment assignment);
  // Cancels and waits.
  ~RunningStage() override;

  const worker::v1::Assignment& assignment() const { return assignment_; }
  // Everything so far, the outcome included once there is one.
  worker::v1::StageState State() const;
  bool done() const;
  void Cancel(absl::Status reason);
  // Waits until it is done, for at most so long; true where it is.
  bool WaitDone(double seconds) const;

 private:
  void OnProgress(const std::string& phase, double fraction, const std::string& message) override;
  void OnBlockFinished(const worker::v1::FinishedBlock& block) override;
  void OnPhaseFinished(const calipress::v1::PhaseReport& phase) override;
  void OnRunFinished(const worker::v1::FinishedRun& run) override;
  void OnRunKept(const worker::v1::KeptRun& run) override;

  worker::v1::Assignment assignment_;
  CancellationToken cancellation_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  worker::v1::StageState state_;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace calipress::worker
