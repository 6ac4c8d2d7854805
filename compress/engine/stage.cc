#include "compress/engine/stage.h"

#include <ATen/core/grad_mode.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/engine/assemble_phase.h"
#include "compress/engine/compress_phase.h"
#include "compress/engine/context.h"
#include "compress/engine/evaluate_phase.h"
#include "compress/engine/layer_ratios_phase.h"
#include "compress/engine/tokens.h"
#include "compress/recipe/loader_warnings.h"
#include "compress/recipe/owl.h"
#include "compress/recipe/recipe.h"
#include "compress/tensor/guard.h"

namespace calipress::engine {
namespace {

absl::Status Compress(StageContext& context) {
  CALIPRESS_ASSIGN_OR_RETURN(StepMethods methods, StepMethods::Make(context.recipe()));
  const bool needs_statistics = methods.NeedsStatistics() || context.recipe().output().imatrix();
  SharedTokens tokens;
  const bool needs_ratios = recipe::HasOwl(context.recipe());
  if (needs_statistics || needs_ratios) {
    CALIPRESS_RETURN_IF_ERROR(RunPhase(context, kTokensPhase, [&]() -> absl::Status {
      context.observer.OnProgress(kTokensPhase, 0.0, "reading calibration data");
      CALIPRESS_ASSIGN_OR_RETURN(tokens, ShareCalibrationTokens(context));
      return absl::OkStatus();
    }));
  }
  if (needs_ratios) {
    CALIPRESS_RETURN_IF_ERROR(
        RunPhase(context, kRatiosPhase, [&] { return SetLayerRatios(context, tokens, &methods); }));
  }
  return RunPhase(context, kCompressPhase, [&] {
    if (!needs_statistics) return CompressWithoutStatistics(context, methods);
    return context.recipe().propagation() == v1::PROPAGATION_ORIGINAL ? CompressStreaming(context, methods, tokens)
                                                                      : CompressSequential(context, methods, tokens);
  });
}

absl::Status Run(StageContext& context) {
  const bool has_steps = context.recipe().steps_size() > 0;
  if (has_steps) CALIPRESS_RETURN_IF_ERROR(Compress(context));
  // Replicas evaluate blocks that others have written.
  if (has_steps && context.replicas()) CALIPRESS_RETURN_IF_ERROR(context.environment.group.Barrier());
  if (recipe::Evaluates(context.recipe())) {
    CALIPRESS_RETURN_IF_ERROR(RunPhase(context, kEvaluatePhase, [&] { return Evaluate(context); }));
  }
  if (!has_steps) return absl::OkStatus();
  // Every rank's blocks are complete after this; waiting for the others is no part of the phase.
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.Barrier());
  return RunPhase(context, kAssemblePhase, [&] { return AssembleShards(context); });
}

}  // namespace

absl::StatusOr<worker::v1::StageOutcome> RunStage(const worker::v1::Assignment& assignment,
                                                  StageEnvironment& environment, StageObserver& observer,
                                                  const CancellationToken& cancellation) {
  worker::v1::StageOutcome outcome;
  CALIPRESS_RETURN_IF_ERROR(tensor::Guard("stage", [&]() -> absl::Status {
    const at::Device device(environment.device);
    CALIPRESS_ASSIGN_OR_RETURN(auto model,
                               Open(environment.store, assignment.model_uri(), device, assignment.recipe()));
    if (assignment.first_block() < 0 || assignment.first_block() > assignment.end_block() ||
        assignment.end_block() > model->spec.blocks) {
      return DefectError("the assignment's blocks are not blocks of the model");
    }
    if (assignment.recipe().sharding() == v1::SHARDING_SAMPLES &&
        assignment.end_block() - assignment.first_block() != model->spec.blocks) {
      return DefectError("the assignment shares sequences and not all blocks");
    }
    StageContext context{assignment, environment, observer, cancellation, device, std::move(model), {}, {}};
    CALIPRESS_RETURN_IF_ERROR(Run(context));
    // Of the job, not of a stage: told once.
    if (context.leader()) {
      for (const std::string& warning : recipe::LoaderWarnings(context.recipe(), context.spec())) {
        context.outcome.add_warnings(warning);
      }
    }
    outcome = std::move(context.outcome);
    return absl::OkStatus();
  }));
  return outcome;
}

}  // namespace calipress::engine
