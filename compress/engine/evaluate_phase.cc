#include "compress/engine/evaluate_phase.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/stage_blocks.h"
#include "compress/engine/task_evaluation.h"
#include "compress/engine/text_evaluation.h"

namespace calipress::engine {

namespace {

// The original model's blocks as the runs of a study share them.
class StudyBlocks : public BlockSource {
 public:
  explicit StudyBlocks(StageContext& context) : context_(context) {}
  absl::StatusOr<std::shared_ptr<const model::Block>> Get(int64_t index) override {
    CALIPRESS_ASSIGN_OR_RETURN(model::Block block, LoadSourceBlock(context_, index));
    return std::make_shared<const model::Block>(std::move(block));
  }
  bool in_memory() const override {
    const auto& assignment = context_.assignment;
    return context_.study->source.KeepsAll(assignment.end_block() - assignment.first_block());
  }

 private:
  StageContext& context_;
};

std::unique_ptr<BlockSource> Originals(StageContext& context, const OpenModel& model, int64_t budget) {
  if (context.study != nullptr) return std::make_unique<StudyBlocks>(context);
  return SourceBlocks(context, model, budget);
}

}  // namespace

absl::StatusOr<Measurements> Measure(StageContext& context, std::vector<Lane>& lanes,
                                     const std::function<void(double fraction, const std::string& what)>& progress) {
  const at::NoGradGuard no_grad;
  const v1::Evaluation& evaluation = context.recipe().evaluation();
  const int count = evaluation.perplexity_size() + evaluation.multiple_choice_size() + evaluation.last_word_size();
  Measurements found;
  absl::Status failure;
  int done = 0;
  const auto measure = [&](const auto& entries, const auto& evaluate, auto* results) -> absl::Status {
    for (const auto& entry : entries) {
      const auto hear = [&](double fraction) { progress((done + fraction) / count, entry.name()); };
      auto result = evaluate(context, lanes, entry, hear);
      // Logits that are no numbers show after a whole pass: the run of a study that has them goes on with the others,
      // as all stages do that do not know.
      const bool goes_on =
          EndsRunAlone(context, result.status()) && ErrorReason(result.status()) == reason::kNonFiniteActivations;
      if (!result.ok() && !goes_on) return result.status();
      if (!result.ok()) {
        if (failure.ok()) failure = result.status();
      } else if (*result) {
        results->push_back(**std::move(result));
      }
      ++done;
    }
    return absl::OkStatus();
  };
  const auto task = [](auto&&... arguments) { return EvaluateTask(std::forward<decltype(arguments)>(arguments)...); };
  CALIPRESS_RETURN_IF_ERROR(measure(evaluation.perplexity(), EvaluateText, &found.evaluations));
  CALIPRESS_RETURN_IF_ERROR(measure(evaluation.multiple_choice(), task, &found.tasks));
  CALIPRESS_RETURN_IF_ERROR(measure(evaluation.last_word(), task, &found.tasks));
  if (!failure.ok()) return failure;
  return found;
}

namespace {

// Puts what is known of the original model beside a run's own figures.
void AddOriginal(const Measurements& original, Measurements* found) {
  for (v1::EvaluationResult& text : found->evaluations) {
    for (const v1::EvaluationResult& known : original.evaluations) {
      if (known.name() == text.name()) text.set_perplexity_original(known.perplexity());
    }
  }
  for (v1::TaskResult& task : found->tasks) {
    for (const v1::TaskResult& known : original.tasks) {
      if (known.name() != task.name() || known.kind() != task.kind()) continue;
      task.set_accuracy_original(known.accuracy());
      if (known.has_accuracy_normalized()) task.set_accuracy_normalized_original(known.accuracy_normalized());
      if (known.has_perplexity()) task.set_perplexity_original(known.perplexity());
    }
  }
}

}  // namespace

absl::StatusOr<Measurements> MeasureOriginal(StageContext& context) {
  std::vector<Lane> lanes;
  const int64_t budget = context.environment.memory_budget / 2;
  CALIPRESS_ASSIGN_OR_RETURN(lanes.emplace_back(),
                             MakeLane(context, *context.model, Originals(context, *context.model, budget)));
  return Measure(context, lanes, [&](double fraction, const std::string& what) {
    context.observer.OnProgress(kEvaluatePhase, fraction, "original model: " + what);
  });
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
  const Measurements* original = context.study == nullptr ? nullptr : context.study->original;
  const OpenModel* beside = original != nullptr ? nullptr : compressed ? context.model.get() : reference.get();
  const int64_t budget = context.environment.memory_budget / (beside == nullptr ? 2 : 4);
  std::vector<Lane> lanes;
  const auto add = [&](const OpenModel& model, std::unique_ptr<BlockSource> blocks) -> absl::Status {
    CALIPRESS_ASSIGN_OR_RETURN(lanes.emplace_back(), MakeLane(context, model, std::move(blocks)));
    return absl::OkStatus();
  };
  CALIPRESS_RETURN_IF_ERROR(add(*context.model, compressed && !context.gave_up
                                                    ? StagedBlocks(context, budget)
                                                    : Originals(context, *context.model, budget)));
  if (beside != nullptr) CALIPRESS_RETURN_IF_ERROR(add(*beside, Originals(context, *beside, budget)));
  CALIPRESS_ASSIGN_OR_RETURN(Measurements found, Measure(context, lanes, [&](double fraction, const std::string& what) {
                               context.observer.OnProgress(kEvaluatePhase, fraction, what);
                             }));
  if (original != nullptr) AddOriginal(*original, &found);
  for (auto& result : found.evaluations) *context.outcome.add_evaluations() = std::move(result);
  for (auto& result : found.tasks) *context.outcome.add_tasks() = std::move(result);
  return absl::OkStatus();
}

}  // namespace calipress::engine
