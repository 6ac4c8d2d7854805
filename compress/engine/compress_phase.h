#pragma once

#include <vector>

#include "absl/status/status.h"
#include "compress/engine/context.h"
#include "compress/engine/step_methods.h"
#include "compress/engine/tokens.h"

namespace calipress::engine {

// Compresses this stage's blocks, propagating the outputs of compressed blocks (the recipe's propagation: compressed).
// `tokens` may be empty where no step needs statistics.
absl::Status CompressSequential(StageContext& context, const StepMethods& methods, const SharedTokens& tokens);

// One of the recipes that are solved for from one pass of the calibration set.
struct StreamedRecipe {
  StageContext& context;
  const StepMethods& methods;
  const SharedTokens& tokens;  // of one set for all of them; only what domains weigh may differ
  // In a study, where it failed alone (EndsRunAlone).
  absl::Status failure = absl::OkStatus();
};

// The same with the outputs of the original blocks: micro-batches stream through as many blocks at once as the memory
// budget allows, and on to the next stage, before anything is solved. Statistics are gathered once, by domain, for all
// recipes; the original's forward does not depend on them.
absl::Status CompressStreaming(std::vector<StreamedRecipe>& recipes);

// Compresses without calibration (no step needs statistics).
absl::Status CompressWithoutStatistics(StageContext& context, const StepMethods& methods);

}  // namespace calipress::engine
