#include "worker/stage/engine_executor.h"

#include <ATen/Parallel.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"

namespace calipress::worker {
namespace {

class EngineExecutor : public StageExecutor {
 public:
  EngineExecutor(const EngineOptions& options, storage::ObjectStore* store) : options_(options), store_(store) {}

  absl::StatusOr<worker::v1::StageOutcome> Execute(const worker::v1::Assignment& assignment,
                                                   engine::StageObserver& observer,
                                                   const CancellationToken& cancellation) override {
    if (assignment.device() != options_.device) {
      return EnvironmentError(reason::kDeviceUnavailable, "the stage is for device \"" + assignment.device() +
                                                              "\" and this worker has \"" + options_.device + "\"");
    }
    // A thread takes over the worker's number of threads when it first asks.
    at::init_num_threads();
    collective::GroupOptions meeting;
    meeting.rendezvous = assignment.rendezvous();
    meeting.key = assignment.job_uid() + "/" + std::to_string(assignment.attempt());
    meeting.rank = assignment.rank();
    meeting.size = assignment.world_size();
    meeting.host = options_.host;
    CALIPRESS_ASSIGN_OR_RETURN(auto group, collective::JoinGroup(options_.backend, meeting, cancellation));
    engine::StageEnvironment environment{*store_, *group, options_.device, options_.memory_budget};
    auto outcome = engine::RunStage(assignment, environment, observer, cancellation);
    if (!outcome.ok()) group->Abort();
    return outcome;
  }

 private:
  const EngineOptions options_;
  storage::ObjectStore* const store_;
};

}  // namespace

std::unique_ptr<StageExecutor> MakeEngineExecutor(const EngineOptions& options, storage::ObjectStore* store) {
  return std::make_unique<EngineExecutor>(options, store);
}

}  // namespace calipress::worker
