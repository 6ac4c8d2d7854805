#include "compress/engine/evaluate_phase.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/task_evaluation.h"
#include "compress/engine/text_evaluation.h"

namespace calipress::engine {

absl::StatusOr<Measurements> Measure(StageContext& context, std::vector<Lane>& lanes,
                                     const std::function<void(double fraction, const std::string& what)>& progress) {
  const at::NoGradGuard no_grad;
  const v1::Evaluation& evaluation = context.recipe().evaluation();
  const int count = evaluation.perplexity_size() + evaluation.multiple_choice_size() + evaluation.last_word_size();
  Measurements found;
  int done = 0;
  const auto measure = [&](const auto& entries, const auto& evaluate, auto* results) -> absl::Status {
    for (const auto& entry : entries) {
      const auto hear = [&](double fraction) { progress((done + fraction) / count, entry.name()); };
      CALIPRESS_ASSIGN_OR_RETURN(auto result, evaluate(context, lanes, entry, hear));
      if (result) results->push_back(*std::move(result));
      ++done;
    }
    return absl::OkStatus();
  };
  const auto task = [](auto&&... arguments) { return EvaluateTask(std::forward<decltype(arguments)>(arguments)...); };
  CALIPRESS_RETURN_IF_ERROR(measure(evaluation.perplexity(), EvaluateText, &found.evaluations));
  CALIPRESS_RETURN_IF_ERROR(measure(evaluation.multiple_choice(), task, &found.tasks));
  CALIPRESS_RETURN_IF_ERROR(measure(evaluation.last_word(), task, &found.tasks));
  return found;
}

absl::Status Evaluate(StageContext& context) {
  const auto& evaluation = context.recipe().evaluation();
  const bool compressed = context.recipe().steps_size() > 0;
  std::unique_ptr<OpenModel> reference;
  if (!compressed && !evaluation.reference().empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(reference,
                               Open(context.store(), evaluation.reference(), context.device, context.recipe()));
    if (reference->spec.vocabulary != context.spec().vocabulary || reference->spec.blocks != context.spec().blocks) {
      return UserError(reason::kUnsupportedCombination,
                       "evaluation.reference has another vocabulary size or number of blocks than the model: compare a "
                       "model with its own original");
    }
  }
  const OpenModel* beside = compressed ? context.model.get() : reference.get();
  const int64_t budget = context.environment.memory_budget / (beside == nullptr ? 2 : 4);
  std::vector<Lane> lanes;
  const auto add = [&](const OpenModel& model, std::unique_ptr<BlockSource> blocks) -> absl::Status {
    CALIPRESS_ASSIGN_OR_RETURN(lanes.emplace_back(), MakeLane(context, model, std::move(blocks)));
    return absl::OkStatus();
  };
  CALIPRESS_RETURN_IF_ERROR(
      add(*context.model, compressed ? StagedBlocks(context, budget) : SourceBlocks(context, *context.model, budget)));
  if (beside != nullptr) CALIPRESS_RETURN_IF_ERROR(add(*beside, SourceBlocks(context, *beside, budget)));
  CALIPRESS_ASSIGN_OR_RETURN(Measurements found, Measure(context, lanes, [&](double fraction, const std::string& what) {
                               context.observer.OnProgress(kEvaluatePhase, fraction, what);
                             }));
  for (auto& result : found.evaluations) *context.outcome.add_evaluations() = std::move(result);
  for (auto& result : found.tasks) *context.outcome.add_tasks() = std::move(result);
  return absl::OkStatus();
}

}  // namespace calipress::engine
