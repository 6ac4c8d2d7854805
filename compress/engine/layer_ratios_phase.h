#pragma once

#include "absl/status/status.h"
#include "compress/engine/context.h"
#include "compress/engine/step_methods.h"
#include "compress/engine/tokens.h"

namespace calipress::engine {

// For steps with layer-wise ratios (OWL): streams the calibration set through the original blocks, counts outliers
// block by block, and gives each block's method its own sparsity; rank 0 puts the ratios into the outcome. Every rank
// needs its peers, and ends with the same ratios: whatever the stages, and in every attempt.
absl::Status SetLayerRatios(StageContext& context, const SharedTokens& tokens, StepMethods* methods);

}  // namespace calipress::engine
