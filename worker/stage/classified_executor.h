#pragma once

#include <memory>

#include "worker/stage/executor.h"

namespace calipress::worker {

// Makes every end of a stage one that the scheduler can act on: an exception becomes a status; a failure that only
// followed from a cancellation becomes the cancellation's reason; a failure without reason and class gets both.
std::unique_ptr<StageExecutor> ClassifyFailures(std::unique_ptr<StageExecutor> executor);

}  // namespace calipress::worker
