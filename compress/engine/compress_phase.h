#pragma once

#include "absl/status/status.h"
#include "compress/engine/context.h"
#include "compress/engine/step_methods.h"
#include "compress/engine/tokens.h"

namespace calipress::engine {

// Compresses this stage's blocks, propagating the outputs of compressed blocks (the recipe's propagation: compressed).
// `tokens` may be empty where no step needs statistics.
absl::Status CompressSequential(StageContext& context, const StepMethods& methods, const SharedTokens& tokens);

// The same with the outputs of the original blocks: micro-batches stream through as many blocks at once as the memory
// budget allows, and on to the next stage, before anything is solved.
absl::Status CompressStreaming(StageContext& context, const StepMethods& methods, const SharedTokens& tokens);

// Compresses without calibration (no step needs statistics).
absl::Status CompressWithoutStatistics(StageContext& context, const StepMethods& methods);

}  // namespace calipress::engine
