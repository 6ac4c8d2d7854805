#include "compress/evaluate/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include "compress/evaluate/divergence_rows.h"
#include "compress/evaluate/logit_rows.h"

namespace calipress::evaluate {
namespace {

constexpr int64_t kChunkBytes = 64 << 20;  // of fp32 copies
constexpr double kLn2 = 0.693147180559945309417;

// Predicted positions of one window: logits [positions, vocabulary], the token that came [positions].
struct Window {
  at::Tensor logits;
  at::Tensor reference;  // may be undefined
  at::Tensor targets;
};

struct PositionScore {
  double nll = 0.0;
  double reference_nll = 0.0;
  double kl = 0.0;
  double js = 0.0;
  bool agree = false;
};

void ScoreOnCpu(const Window& window, TextScore* score) {
  const int64_t positions = window.logits.size(0);
  const int64_t vocabulary = window.logits.size(1);
  const bool compare = window.reference.defined();
  const LogitRows test_rows(window.logits);
  const LogitRows reference_rows = compare ? LogitRows(window.reference) : LogitRows();
  const int64_t* targets = window.targets.const_data_ptr<int64_t>();
  std::vector<PositionScore> scores(positions);
  at::parallel_for(0, positions, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> test_buffer;
    std::vector<float> reference_buffer;
    for (int64_t i = begin; i < end; ++i) {
      PositionScore& out = scores[i];
      const float* test = test_rows.Row(i, &test_buffer);
      const RowSummary test_summary = SummarizeRow(test, vocabulary);
      out.nll = test_summary.log_sum_exp - test[targets[i]];
      if (!compare) continue;
      const float* reference = reference_rows.Row(i, &reference_buffer);
      const RowSummary reference_summary = SummarizeRow(reference, vocabulary);
      out.reference_nll = reference_summary.log_sum_exp - reference[targets[i]];
      out.agree = test_summary.first == reference_summary.first;
      DivergenceOfRows(reference, reference_summary, test, test_summary, vocabulary, &out.kl, &out.js);
    }
  });
  // In order of position, so that the sums do not depend on the threads.
  for (const PositionScore& one : scores) {
    score->negative_log_likelihood += one.nll;
    score->reference_negative_log_likelihood += one.reference_nll;
    score->kl += one.kl;
    score->js += one.js;
    score->agree += one.agree ? 1 : 0;
  }
}

double SumOfChosen(const at::Tensor& log_probabilities, const at::Tensor& targets) {
  return log_probabilities.gather(1, targets.unsqueeze(1)).sum(at::kDouble).item<double>();
}

void ScoreByOperations(const Window& window, TextScore* score) {
  const at::Tensor log_q = LogProbabilities(window.logits);
  score->negative_log_likelihood -= SumOfChosen(log_q, window.targets);
  if (!window.reference.defined()) return;
  const at::Tensor log_p = LogProbabilities(window.reference);
  score->reference_negative_log_likelihood -= SumOfChosen(log_p, window.targets);
  score->agree += (window.logits.argmax(1) == window.reference.argmax(1)).sum().item<int64_t>();
  const at::Tensor p = log_p.exp();
  score->kl += (p * (log_p - log_q)).sum(1).clamp_min_(0).sum(at::kDouble).item<double>();
  const at::Tensor q = log_q.exp();
  const at::Tensor log_m = at::logaddexp(log_p, log_q).sub_(kLn2);
  const at::Tensor twice = (p * (log_p - log_m)).sum(1) + (q * (log_q - log_m)).sum(1);
  score->js += twice.to(at::kDouble).mul_(0.5).clamp_(0, kLn2).sum().item<double>();
}

void Check(const at::Tensor& logits, const at::Tensor& reference, const at::Tensor& ids) {
  TORCH_CHECK(logits.dim() == 3, "logits are [batch, length, vocabulary], not ", logits.sizes());
  TORCH_CHECK(ids.dim() == 2 && ids.scalar_type() == at::kLong && ids.size(0) == logits.size(0) &&
                  ids.size(1) == logits.size(1),
              "ids are int64 [batch, length] of the logits ", logits.sizes(), ", not ", ids.sizes());
  TORCH_CHECK(!reference.defined() || reference.sizes() == logits.sizes(), "reference logits are ", reference.sizes(),
              ", those under test ", logits.sizes());
  TORCH_CHECK(ids.numel() == 0 || (ids.min().item<int64_t>() >= 0 && ids.max().item<int64_t>() < logits.size(2)),
              "a token id is outside the vocabulary of ", logits.size(2));
}

}  // namespace

double TextScore::Perplexity() const { return std::exp(negative_log_likelihood / static_cast<double>(tokens)); }

double TextScore::ReferencePerplexity() const {
  return std::exp(reference_negative_log_likelihood / static_cast<double>(tokens));
}

void ScoreLogits(const at::Tensor& logits, const at::Tensor& reference, const at::Tensor& ids, TextScore* score) {
  const c10::NoGradGuard no_grad;
  Check(logits, reference, ids);
  const int64_t length = ids.size(1);
  if (length < 2) return;
  const bool kernel = HasRowKernel(logits) && (!reference.defined() || HasRowKernel(reference));
  // log-probabilities, probabilities and temporaries of both models.
  const int64_t copies = reference.defined() ? 8 : 2;
  const int64_t row_bytes = copies * static_cast<int64_t>(sizeof(float)) * logits.size(2);
  const int64_t chunk = kernel ? length : std::max<int64_t>(1, kChunkBytes / std::max<int64_t>(1, row_bytes));
  for (int64_t row = 0; row < ids.size(0); ++row) {
    for (int64_t begin = 0; begin < length - 1; begin += chunk) {
      const int64_t count = std::min(chunk, length - 1 - begin);
      Window window;
      window.logits = logits.select(0, row).narrow(0, begin, count);
      if (reference.defined()) window.reference = reference.select(0, row).narrow(0, begin, count);
      window.targets = ids.select(0, row).narrow(0, begin + 1, count).to(logits.device()).contiguous();
      kernel ? ScoreOnCpu(window, score) : ScoreByOperations(window, score);
    }
    score->tokens += length - 1;
  }
}

}  // namespace calipress::evaluate
