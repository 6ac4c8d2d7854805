#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "compress/engine/context.h"
#include "compress/recipe/study.h"

namespace calipress::engine {

// What a study has left behind once its runs are done.
struct FinishedStudy {
  const std::vector<recipe::StudyRun>& runs;
  // What this rank knows of the runs that this attempt did.
  const std::vector<v1::RunReport>& told;
  // Calibration sets that are staged (recipe::CalibrationSetFile); every rank knows the same.
  const std::set<std::string>& sets;
};

// Does the runs that the recipe keeps once more, one after the other, each as an ordinary job: what a run compresses
// depends on its recipe alone. One run is the job's own: its blocks are told as they come, and its shards and
// evaluations are the outcome's. Of several each is left whole in "kept-<index>" of the staging folder, and told once
// it is (OnRunKept); those of assignment.kept_runs are left out.
absl::Status KeepRuns(StageContext& context, const FinishedStudy& study);

}  // namespace calipress::engine
