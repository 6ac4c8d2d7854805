#pragma once

#include <cstdint>

#include "calipress/v1/job.pb.h"
#include "calipress/v1/recipe.pb.h"
#include "server/api/source_model.h"

namespace calipress::api {

// Sizes of a job's inputs that no header of the model tells.
struct InputSizes {
  // Calibration tokens; 0 where nothing is calibrated.
  int64_t calibration_tokens = 0;
  // Tokens of one calibration sequence.
  int64_t calibration_length = 0;
};

// Upper bounds for a resolved recipe: on the worker with the most to do, which is the only one where the placement
// leaves the number open. The parts of worker_memory_bytes are listed in estimate.cc.
v1::Estimate EstimateJob(const v1::CompressionJob& job, const SourceModel& model, const InputSizes& sizes);

// What no worker can do without, in bytes: one block and the second moments of its widest input. A machine with less
// is refused.
int64_t LeastMemory(const v1::Recipe& recipe, const SourceModel& model);

}  // namespace calipress::api
