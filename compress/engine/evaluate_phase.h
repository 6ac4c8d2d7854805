#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/engine/context.h"
#include "compress/engine/lanes.h"

namespace calipress::engine {

// Measures everything that the recipe's evaluation names on this stage's blocks: the compressed model beside the
// original (jobs with steps), or the job's model beside evaluation.reference where there is one. The last rank's
// outcome gets the results (the leader's, where replicas have some sequences each). Hidden states of both models stream
// through the stages together.
absl::Status Evaluate(StageContext& context);

// What the rank that tells has found; empty on the others.
struct Measurements {
  std::vector<v1::EvaluationResult> evaluations;
  std::vector<v1::TaskResult> tasks;
};

// What the recipe's evaluation names under the original model alone. All ranks call it alike.
absl::StatusOr<Measurements> MeasureOriginal(StageContext& context);

// The texts and tasks of the recipe under the first lane's model, and, where there is one, the second's to compare
// with. All ranks call it alike. `progress` hears the share that is done and what is being measured.
absl::StatusOr<Measurements> Measure(StageContext& context, std::vector<Lane>& lanes,
                                     const std::function<void(double fraction, const std::string& what)>& progress);

}  // namespace calipress::engine
