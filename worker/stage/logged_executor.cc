#include "worker/stage/logged_executor.h"

#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/log.h"

namespace calipress::worker {
namespace {

class LoggedObserver : public engine::StageObserver {
 public:
  explicit LoggedObserver(engine::StageObserver& next) : next_(next) {}
  void OnProgress(const std::string& phase, double fraction, const std::string& message) override {
    next_.OnProgress(phase, fraction, message);
  }
  void OnBlockFinished(const worker::v1::FinishedBlock& block) override {
    LogInfo("block finished", {{"block", block.index()}, {"bytes", block.bytes()}});
    next_.OnBlockFinished(block);
  }
  void OnPhaseFinished(const calipress::v1::PhaseReport& phase) override {
    LogInfo("phase finished",
            {{"phase", phase.name()}, {"seconds", phase.seconds()}, {"peak_memory_bytes", phase.peak_memory_bytes()}});
    next_.OnPhaseFinished(phase);
  }
  void OnRunFinished(const worker::v1::FinishedRun& run) override {
    LogInfo("run finished", {{"run", run.report().name()}, {"seconds", run.report().seconds()}});
    next_.OnRunFinished(run);
  }
  void OnRunKept(const worker::v1::KeptRun& run) override {
    LogInfo("run kept", {{"run", run.index()}});
    next_.OnRunKept(run);
  }

 private:
  engine::StageObserver& next_;
};

class LoggedExecutor : public StageExecutor {
 public:
  LoggedExecutor(std::unique_ptr<StageExecutor> executor, const std::string& worker_id)
      : executor_(std::move(executor)), worker_id_(worker_id) {}

  absl::StatusOr<worker::v1::StageOutcome> Execute(const worker::v1::Assignment& assignment,
                                                   engine::StageObserver& observer,
                                                   const CancellationToken& cancellation) override {
    const LogScope scope({{"job", assignment.job_name()},
                          {"stage", assignment.rank()},
                          {"attempt", assignment.attempt()},
                          {"worker", worker_id_}});
    LogInfo("stage begins", {{"stages", assignment.world_size()},
                             {"first_block", assignment.first_block()},
                             {"end_block", assignment.end_block()}});
    const Stopwatch watch;
    LoggedObserver logged(observer);
    auto outcome = executor_->Execute(assignment, logged, cancellation);
    if (outcome.ok()) {
      LogInfo("stage done", {{"seconds", watch.Seconds()}});
    } else {
      const absl::Status& status = outcome.status();
      const std::string message(status.message());
      const std::string reason = ErrorReason(status);
      const std::string_view error_class = ErrorClassName(ErrorClassOf(status));
      if (cancellation.cancelled()) {
        LogInfo("stage given up", {{"reason", reason}, {"message", message}, {"seconds", watch.Seconds()}});
      } else {
        LogError("stage failed",
                 {{"reason", reason}, {"class", error_class}, {"message", message}, {"seconds", watch.Seconds()}});
      }
    }
    return outcome;
  }

 private:
  std::unique_ptr<StageExecutor> executor_;
  const std::string worker_id_;
};

}  // namespace

std::unique_ptr<StageExecutor> LogStages(std::unique_ptr<StageExecutor> executor, const std::string& worker_id) {
  return std::make_unique<LoggedExecutor>(std::move(executor), worker_id);
}

}  // namespace calipress::worker
