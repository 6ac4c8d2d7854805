#pragma once

#include "absl/status/status.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// Measures every perplexity text of the recipe on this stage's blocks: the compressed model beside the original (jobs
// with steps), or the job's model beside evaluation.reference where there is one. The last rank's outcome gets the
// results (the leader's, where replicas have some windows each). Hidden states of both models stream through the stages
// together.
absl::Status Evaluate(StageContext& context);

}  // namespace calipress::engine
