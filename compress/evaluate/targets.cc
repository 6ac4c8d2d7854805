#include "compress/evaluate/targets.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "compress/evaluate/divergence_rows.h"
#include "compress/evaluate/logit_rows.h"

namespace calipress::evaluate {
namespace {

std::vector<TargetScore> ScoreByRows(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor ids = targets.cpu().contiguous();
  const int64_t* target = ids.const_data_ptr<int64_t>();
  const LogitRows rows(logits);
  std::vector<TargetScore> scores(logits.size(0));
  at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer;
    for (int64_t i = begin; i < end; ++i) {
      const float* row = rows.Row(i, &buffer);
      const RowSummary summary = SummarizeRow(row, logits.size(1));
      scores[i] = {summary.log_sum_exp - row[target[i]], summary.first == target[i]};
    }
  });
  return scores;
}

std::vector<TargetScore> ScoreByOperations(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor ids = targets.to(logits.device()).unsqueeze(1);
  const at::Tensor chosen = LogProbabilities(logits).gather(1, ids).squeeze(1).to(at::kDouble).cpu().contiguous();
  const at::Tensor likeliest = (logits.argmax(1, /*keepdim=*/true) == ids).squeeze(1).cpu().contiguous();
  std::vector<TargetScore> scores(logits.size(0));
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = {-chosen.const_data_ptr<double>()[i], likeliest.const_data_ptr<bool>()[i]};
  }
  return scores;
}

}  // namespace

std::vector<TargetScore> ScoreTargets(const at::Tensor& logits, const at::Tensor& targets) {
  const c10::NoGradGuard no_grad;
  TORCH_CHECK(logits.dim() == 2 && targets.dim() == 1 && targets.scalar_type() == at::kLong &&
                  targets.size(0) == logits.size(0),
              "logits are [positions, vocabulary] and targets int64 [positions], not ", logits.sizes(), " and ",
              targets.sizes());
  if (targets.numel() == 0) return {};
  TORCH_CHECK(targets.min().item<int64_t>() >= 0 && targets.max().item<int64_t>() < logits.size(1),
              "a token id is outside the vocabulary of ", logits.size(1));
  return HasRowKernel(logits) ? ScoreByRows(logits, targets) : ScoreByOperations(logits, targets);
}

}  // namespace calipress::evaluate
