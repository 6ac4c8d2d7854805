#include "compress/engine/task_evaluation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/engine/task_share.h"
#include "compress/engine/tokens.h"
#include "compress/evaluate/targets.h"
#include "compress/tasks/figures.h"

namespace calipress::engine {
namespace {

// Logits of a chunk of positions.
constexpr int64_t kLogitBytes = 32 << 20;

using LaneScores = std::vector<std::vector<tasks::ContinuationScore>>;  // by lane and continuation

// The scores of a batch's continuations under one lane's model.
void ScoreBatch(const tasks::Examples& examples, const TaskBatch& batch, const ScoredTokens& tokens, const Lane& lane,
                const at::Tensor& hidden, std::vector<tasks::ContinuationScore>* scores) {
  const at::Tensor rows = hidden.reshape({-1, hidden.size(2)}).index_select(0, tokens.positions);
  const int64_t step = std::max<int64_t>(1, kLogitBytes / (lane.model->spec.vocabulary * 4));
  std::vector<evaluate::TargetScore> of_tokens;
  for (int64_t begin = 0; begin < rows.size(0); begin += step) {
    const int64_t size = std::min(step, rows.size(0) - begin);
    const at::Tensor logits = lane.head->Forward(rows.narrow(0, begin, size).unsqueeze(0)).squeeze(0);
    const auto chunk = evaluate::ScoreTargets(logits, tokens.targets.narrow(0, begin, size));
    of_tokens.insert(of_tokens.end(), chunk.begin(), chunk.end());
  }
  auto next = of_tokens.begin();
  for (const int64_t index : batch.continuations) {
    tasks::ContinuationScore score{0.0, true};
    for (int64_t i = 0; i < examples.continuations[index].scored; ++i, ++next) {
      score.log_probability -= next->negative_log_likelihood;
      score.greedy = score.greedy && next->likeliest;
    }
    (*scores)[index] = score;
  }
}

// Every continuation was scored by one replica: the others' zeros leave its score as it is, to the bit.
absl::Status SumScores(StageContext& context, std::vector<tasks::ContinuationScore>* scores) {
  const auto count = static_cast<int64_t>(scores->size());
  at::Tensor sums = at::empty({count, 2}, at::kDouble);
  double* values = sums.mutable_data_ptr<double>();
  for (const tasks::ContinuationScore& score : *scores) {
    *values++ = score.log_probability;
    *values++ = score.greedy ? 1.0 : 0.0;
  }
  sums = sums.to(context.device);
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.AllReduceSum(sums));
  sums = sums.cpu();
  const double* summed = sums.const_data_ptr<double>();
  for (tasks::ContinuationScore& score : *scores) {
    score.log_probability = *summed++;
    score.greedy = *summed++ != 0.0;
  }
  return absl::OkStatus();
}

absl::StatusOr<LaneScores> ScoreExamples(StageContext& context, std::vector<Lane>& lanes,
                                         const tasks::Examples& examples, const std::function<void(double)>& progress) {
  std::vector<TaskBatch> batches = BatchContinuations(examples);
  if (context.replicas()) {
    // Every so many: long ones are first.
    std::vector<TaskBatch> own;
    for (size_t i = context.rank(); i < batches.size(); i += context.world_size()) own.push_back(std::move(batches[i]));
    batches = std::move(own);
  }
  LaneScores scores(lanes.size(), std::vector<tasks::ContinuationScore>(examples.continuations.size()));
  LanePass pass;
  for (const TaskBatch& batch : batches) pass.batches.push_back(batch.shape);
  pass.ids = [&](int64_t batch) { return SeenIds(examples, batches[batch], context.device); };
  pass.take = [&](int64_t batch, const std::vector<at::Tensor>& hidden) {
    const ScoredTokens tokens = ScoredIn(examples, batches[batch], context.device);
    for (size_t lane = 0; lane < lanes.size(); ++lane) {
      ScoreBatch(examples, batches[batch], tokens, lanes[lane], hidden[lane], &scores[lane]);
    }
    return absl::OkStatus();
  };
  pass.progress = progress;
  CALIPRESS_RETURN_IF_ERROR(RunLanes(context, lanes, pass));
  if (context.replicas()) {
    for (auto& of_lane : scores) CALIPRESS_RETURN_IF_ERROR(SumScores(context, &of_lane));
  }
  return scores;
}

absl::Status CheckFinite(const std::string& name, const std::vector<tasks::ContinuationScore>& scores) {
  const bool finite = std::all_of(scores.begin(), scores.end(), [](const tasks::ContinuationScore& score) {
    return std::isfinite(score.log_probability);
  });
  if (finite) return absl::OkStatus();
  return PreconditionError(reason::kNonFiniteActivations, "task " + name + ": the model's logits are NaN or infinite");
}

using Read = std::function<absl::StatusOr<tasks::Examples>(const calibration::SourceContext&)>;

struct Scored {
  tasks::Examples examples;
  LaneScores scores;
};

// Nothing on ranks that do not tell.
absl::StatusOr<std::optional<Scored>> Score(StageContext& context, std::vector<Lane>& lanes, const std::string& name,
                                            const Read& read, const std::function<void(double)>& progress) {
  Scored scored;
  CALIPRESS_ASSIGN_OR_RETURN(
      scored.examples, ShareExamples(context, [&]() -> absl::StatusOr<tasks::Examples> {
        CALIPRESS_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(context));
        return read({context.store(), tokenizer.get(), context.spec().vocabulary, context.spec().max_positions});
      }));
  CALIPRESS_ASSIGN_OR_RETURN(scored.scores, ScoreExamples(context, lanes, scored.examples, progress));
  if (!context.tells_scores()) return std::nullopt;
  CALIPRESS_RETURN_IF_ERROR(CheckFinite(name, scored.scores[0]));
  return scored;
}

template <typename Task>
v1::TaskResult ResultOf(const Task& task, const char* kind, const tasks::Examples& examples) {
  v1::TaskResult result;
  result.set_name(task.name());
  result.set_kind(kind);
  result.set_domain(task.domain());
  result.set_examples(static_cast<int64_t>(examples.questions.size()));
  return result;
}

}  // namespace

absl::StatusOr<std::optional<v1::TaskResult>> EvaluateTask(StageContext& context, std::vector<Lane>& lanes,
                                                           const v1::MultipleChoice& task,
                                                           const std::function<void(double)>& progress) {
  const auto read = [&](const calibration::SourceContext& source) { return tasks::ReadMultipleChoice(task, source); };
  CALIPRESS_ASSIGN_OR_RETURN(const auto scored, Score(context, lanes, task.name(), read, progress));
  if (!scored) return std::nullopt;
  v1::TaskResult result = ResultOf(task, "multiple_choice", scored->examples);
  const tasks::ChoiceFigures figures = tasks::FiguresOfChoices(scored->examples, scored->scores[0]);
  result.set_accuracy(figures.accuracy);
  result.set_accuracy_normalized(figures.accuracy_normalized);
  if (lanes.size() > 1) {
    const tasks::ChoiceFigures original = tasks::FiguresOfChoices(scored->examples, scored->scores[1]);
    result.set_accuracy_original(original.accuracy);
    result.set_accuracy_normalized_original(original.accuracy_normalized);
  }
  return result;
}

absl::StatusOr<std::optional<v1::TaskResult>> EvaluateTask(StageContext& context, std::vector<Lane>& lanes,
                                                           const v1::LastWord& task,
                                                           const std::function<void(double)>& progress) {
  const auto read = [&](const calibration::SourceContext& source) { return tasks::ReadLastWord(task, source); };
  CALIPRESS_ASSIGN_OR_RETURN(const auto scored, Score(context, lanes, task.name(), read, progress));
  if (!scored) return std::nullopt;
  v1::TaskResult result = ResultOf(task, "last_word", scored->examples);
  const tasks::WordFigures figures = tasks::FiguresOfWords(scored->examples, scored->scores[0]);
  result.set_accuracy(figures.accuracy);
  result.set_perplexity(figures.perplexity);
  if (lanes.size() > 1) {
    const tasks::WordFigures original = tasks::FiguresOfWords(scored->examples, scored->scores[1]);
    result.set_accuracy_original(original.accuracy);
    result.set_perplexity_original(original.perplexity);
  }
  return result;
}

}  // namespace calipress::engine
