#pragma once

#include <memory>
#include <string>

#include "worker/stage/executor.h"

namespace calipress::worker {

// Puts job, stage, attempt and worker on every line of the stage's thread, and says when a stage begins, ends a phase
// and ends.
std::unique_ptr<StageExecutor> LogStages(std::unique_ptr<StageExecutor> executor, const std::string& worker_id);

}  // namespace calipress::worker
