#include "compress/engine/text_evaluation.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/tensor.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/tokens.h"
#include "compress/evaluate/divergence.h"

namespace calipress::engine {
namespace {

// Logits of a chunk of positions, in the model's dtype, for each model.
constexpr int64_t kLogitBytes = 32 << 20;

// Of the windows of every replica.
absl::Status SumScores(collective::Group& group, at::Device device, evaluate::TextScore* score) {
  const at::Tensor sums =
      at::tensor({score->negative_log_likelihood, score->reference_negative_log_likelihood, score->kl, score->js},
                 at::kDouble)
          .to(device);
  const at::Tensor counts = at::tensor({score->tokens, score->agree}, at::kLong).to(device);
  CALIPRESS_RETURN_IF_ERROR(group.AllReduceSum(sums));
  CALIPRESS_RETURN_IF_ERROR(group.AllReduceSum(counts));
  const at::Tensor total = sums.cpu(), counted = counts.cpu();
  const double* values = total.const_data_ptr<double>();
  *score = {counted[0].item<int64_t>(), values[0], values[1], values[2], values[3], counted[1].item<int64_t>()};
  return absl::OkStatus();
}

void ScoreBatch(const std::vector<Lane>& lanes, const std::vector<at::Tensor>& hidden, const at::Tensor& ids,
                evaluate::TextScore* score) {
  const int64_t length = ids.size(1);
  const int64_t per_position = ids.size(0) * lanes[0].model->spec.vocabulary * 4;
  // Neighbouring chunks share a position: the last of one predicts the first token of the next.
  const int64_t step = std::max<int64_t>(1, kLogitBytes / std::max<int64_t>(1, per_position));
  for (int64_t begin = 0; begin + 1 < length; begin += step) {
    const int64_t size = std::min(step + 1, length - begin);
    const at::Tensor test = lanes[0].head->Forward(hidden[0].narrow(1, begin, size));
    const at::Tensor reference =
        lanes.size() > 1 ? lanes[1].head->Forward(hidden[1].narrow(1, begin, size)) : at::Tensor();
    evaluate::ScoreLogits(test, reference, ids.narrow(1, begin, size), score);
  }
}

}  // namespace

absl::StatusOr<std::optional<v1::EvaluationResult>> EvaluateText(StageContext& context, std::vector<Lane>& lanes,
                                                                 const v1::Perplexity& text,
                                                                 const std::function<void(double)>& progress) {
  CALIPRESS_ASSIGN_OR_RETURN(const SharedTokens tokens, ShareEvaluationTokens(context, text));
  const auto ids = [&](int64_t batch) {
    return tokens.ids.narrow(0, tokens.batches.first(batch), tokens.batches.size(batch));
  };
  evaluate::TextScore score;
  LanePass pass;
  pass.batches = tokens.batches.shapes();
  pass.ids = ids;
  pass.take = [&](int64_t batch, const std::vector<at::Tensor>& hidden) {
    ScoreBatch(lanes, hidden, ids(batch), &score);
    return absl::OkStatus();
  };
  pass.progress = progress;
  CALIPRESS_RETURN_IF_ERROR(RunLanes(context, lanes, pass));
  if (context.replicas()) CALIPRESS_RETURN_IF_ERROR(SumScores(context.environment.group, context.device, &score));
  if (!context.tells_scores()) return std::nullopt;

  if (!std::isfinite(score.negative_log_likelihood)) {
    return PreconditionError(reason::kNonFiniteActivations,
                             "text " + text.name() + ": the model's logits are NaN or infinite");
  }
  v1::EvaluationResult result;
  result.set_name(text.name());
  result.set_domain(text.domain());
  result.set_sequence_length(static_cast<int32_t>(tokens.batches.length));
  result.set_windows(tokens.all_sequences);
  result.set_tokens(score.tokens);
  result.set_perplexity(score.Perplexity());
  if (lanes.size() > 1) {
    const double predicted = static_cast<double>(std::max<int64_t>(1, score.tokens));
    result.set_perplexity_original(score.ReferencePerplexity());
    if (context.recipe().evaluation().divergence()) {
      result.set_kl_divergence(score.kl / predicted);
      result.set_js_divergence(score.js / predicted);
      result.set_top1_agreement(static_cast<double>(score.agree) / predicted);
    }
  }
  return result;
}

}  // namespace calipress::engine
