#pragma once

#include <memory>

#include "worker/stage/executor.h"

namespace calipress::worker {

// Counts attempts by phase and outcome, times phases, and counts what came out of them: calipress_stage_attempts_total,
// calipress_stage_duration_seconds, calipress_layers_compressed_total, calipress_layer_relative_error,
// calipress_calibration_tokens_total.
std::unique_ptr<StageExecutor> MeterStages(std::unique_ptr<StageExecutor> executor);

}  // namespace calipress::worker
