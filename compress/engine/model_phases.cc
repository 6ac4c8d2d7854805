#include "compress/engine/model_phases.h"

#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/engine/assemble_phase.h"
#include "compress/engine/compress_phase.h"
#include "compress/engine/evaluate_phase.h"
#include "compress/engine/layer_ratios_phase.h"
#include "compress/recipe/few_tokens.h"
#include "compress/recipe/owl.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {

namespace {

void WarnOfFewTokens(StageContext& context, const SharedTokens& tokens) {
  if (!context.leader()) return;
  const int64_t count = tokens.all_sequences * tokens.batches.length;
  if (const auto warning = recipe::FewTokensWarning(context.recipe(), context.spec(), count)) {
    context.outcome.add_warnings(*warning);
  }
}

}  // namespace

bool NeedsTokens(const StageContext& context, const StepMethods& methods) {
  return methods.NeedsStatistics() || context.recipe().output().imatrix() || recipe::HasOwl(context.recipe());
}

absl::Status TokensPhase(StageContext& context, const CalibrationPlace& place, SharedTokens* tokens) {
  return RunPhase(context, kTokensPhase, [&]() -> absl::Status {
    context.observer.OnProgress(kTokensPhase, 0.0, "reading calibration data");
    CALIPRESS_ASSIGN_OR_RETURN(*tokens, ShareCalibrationTokens(context, place));
    return absl::OkStatus();
  });
}

absl::Status RatiosPhase(StageContext& context, const SharedTokens& tokens, StepMethods* methods) {
  if (!recipe::HasOwl(context.recipe())) return absl::OkStatus();
  return RunPhase(context, kRatiosPhase, [&] { return SetLayerRatios(context, tokens, methods); });
}

absl::Status BlocksPhase(StageContext& context, const StepMethods& methods, const SharedTokens& tokens) {
  return RunPhase(context, kCompressPhase, [&] {
    if (!methods.NeedsStatistics() && !context.recipe().output().imatrix()) {
      return CompressWithoutStatistics(context, methods);
    }
    if (context.recipe().propagation() != v1::PROPAGATION_ORIGINAL) return CompressSequential(context, methods, tokens);
    std::vector<StreamedRecipe> alone = {{context, methods, tokens}};
    context.out_of_step = true;
    CALIPRESS_RETURN_IF_ERROR(CompressStreaming(alone));
    context.out_of_step = false;
    return alone.front().failure;
  });
}

absl::Status EvaluatePhase(StageContext& context) {
  if (!recipe::Evaluates(context.recipe())) return absl::OkStatus();
  return RunPhase(context, kEvaluatePhase, [&] { return Evaluate(context); });
}

absl::Status RunRecipe(StageContext& context) {
  const bool has_steps = context.recipe().steps_size() > 0;
  if (has_steps) {
    CALIPRESS_ASSIGN_OR_RETURN(StepMethods methods, StepMethods::Make(context.recipe()));
    SharedTokens tokens;
    const std::string& staging = context.assignment.staging_uri();
    CalibrationPlace place;
    if (!staging.empty()) place = {storage::JoinUri(staging, kCalibrationIdsFile), kCalibrationIdsFile};
    if (NeedsTokens(context, methods)) {
      CALIPRESS_RETURN_IF_ERROR(TokensPhase(context, place, &tokens));
      WarnOfFewTokens(context, tokens);
    }
    CALIPRESS_RETURN_IF_ERROR(RatiosPhase(context, tokens, &methods));
    CALIPRESS_RETURN_IF_ERROR(BlocksPhase(context, methods, tokens));
    // Replicas evaluate blocks that others have written.
    if (context.replicas()) CALIPRESS_RETURN_IF_ERROR(context.environment.group.Barrier());
  }
  CALIPRESS_RETURN_IF_ERROR(EvaluatePhase(context));
  if (!has_steps) return absl::OkStatus();
  // Every rank's blocks are complete after this; waiting for the others is no part of the phase.
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.Barrier());
  return RunPhase(context, kAssemblePhase, [&] { return AssembleShards(context); });
}

}  // namespace calipress::engine
