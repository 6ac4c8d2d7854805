#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/engine/context.h"
#include "compress/engine/step_methods.h"
#include "compress/engine/tokens.h"

namespace calipress::engine {

// The phases of one recipe, in their order; a job with a study goes through them for every run.

// Whether the steps (or what is to be written beside them) want calibration tokens.
bool NeedsTokens(const StageContext& context, const StepMethods& methods);

// "calibration-tokens". `place`: where the ids are left.
absl::Status TokensPhase(StageContext& context, const CalibrationPlace& place, SharedTokens* tokens);
// "layer-ratios", where a step has them.
absl::Status RatiosPhase(StageContext& context, const SharedTokens& tokens, StepMethods* methods);
// "compress". `tokens` may be empty where they are not needed.
absl::Status BlocksPhase(StageContext& context, const StepMethods& methods, const SharedTokens& tokens);
// "evaluate", where the recipe measures anything.
absl::Status EvaluatePhase(StageContext& context);

// All of them, and "assemble" where there are steps.
absl::Status RunRecipe(StageContext& context);

}  // namespace calipress::engine
