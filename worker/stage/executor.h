#pragma once

#include "absl/status/statusor.h"
#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/base/cancellation.h"
#include "compress/engine/stage.h"

namespace calipress::worker {

// Does one stage of one attempt. The session knows no more of the work than this; no tensor shows here.
class StageExecutor {
 public:
  virtual ~StageExecutor() = default;

  // Blocks until the stage is done, failed or cancelled; the token's status in the last case, soon after it is raised.
  // A failure carries a reason and a class. The observer hears of progress from this thread and from others that end
  // before the call does. One call at a time.
  virtual absl::StatusOr<worker::v1::StageOutcome> Execute(const worker::v1::Assignment& assignment,
                                                           engine::StageObserver& observer,
                                                           const CancellationToken& cancellation) = 0;
};

}  // namespace calipress::worker
