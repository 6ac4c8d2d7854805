#pragma once

#include "absl/status/status.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// Does the runs of a study, one after the other on each stage: while this stage is at run t, the next one is at t - 1.
// Blocks of the original model are read once for all runs, as far as a quarter of the memory budget holds them; what a
// run compresses is written under the staging folder, measured and removed. Every run that ends is told to the observer
// (OnRunFinished), also one that failed. Runs of assignment.finished_runs are left out. The ids of every draw are left
// in assignment.shared_staging_uri, and read from there where an earlier attempt has left them.
//
// Then the runs that the recipe keeps (study_keep.h).
absl::Status RunStudy(StageContext& context);

}  // namespace calipress::engine
