#include "compress/engine/stage.h"

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/context.h"
#include "compress/engine/model_phases.h"
#include "compress/engine/study_phase.h"
#include "compress/recipe/loader_warnings.h"
#include "compress/recipe/unused_calibration.h"
#include "compress/tensor/guard.h"

namespace calipress::engine {

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
    StageContext context{assignment, environment, observer, cancellation, device, std::move(model), {}, {}, nullptr};
    CALIPRESS_RETURN_IF_ERROR(assignment.recipe().has_study() ? RunStudy(context) : RunRecipe(context));
    // Of the job, not of a stage: told once.
    if (context.leader()) {
      for (const std::string& warning : recipe::LoaderWarnings(context.recipe(), context.spec())) {
        context.outcome.add_warnings(warning);
      }
      if (auto unused = recipe::UnusedCalibration(context.recipe())) context.outcome.add_warnings(*std::move(unused));
    }
    outcome = std::move(context.outcome);
    return absl::OkStatus();
  }));
  return outcome;
}

}  // namespace calipress::engine
