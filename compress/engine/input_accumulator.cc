#include "compress/engine/input_accumulator.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

namespace calipress::engine {

InputAccumulator::InputAccumulator(int64_t features, const method::StatisticsNeeds& needs, int64_t tokens,
                                   at::Device device, int64_t first_token)
    : needs_(needs), first_token_(first_token) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  const auto want = [&](bool wanted, at::Tensor& sum) {
    if (!wanted) return;
    sum = at::zeros({features}, options);
    sums_wanted_ = true;
  };
  if (needs.second_moment) moment_.emplace(features, device);
  // The second moment's diagonal is the same sum.
  want(needs.square_sum && !needs.second_moment, sums_.square_sum);
  want(needs.absolute_sum, sums_.absolute_sum);
  want(needs.absolute_max, sums_.absolute_max);
  want(needs.sum, sums_.sum);
  want(needs.sequence_variance, sums_.variance_sum);
  if (needs.sample_rows > 0) stride_ = std::max<int64_t>(1, tokens / needs.sample_rows);
}

void InputAccumulator::AddSample(const at::Tensor& rows) {
  // Tokens 0, stride, 2 stride ... of the whole set, wherever micro-batches are cut.
  const int64_t first = (stride_ - (first_token_ + tokens_) % stride_) % stride_;
  if (first >= rows.size(0)) return;
  sample_.push_back(rows.slice(0, first, std::nullopt, stride_).clone());
}

void InputAccumulator::Add(const at::Tensor& activations) {
  const at::Tensor x = activations.contiguous();
  const at::Tensor rows = x.reshape({-1, x.size(-1)});
  if (moment_) moment_->Add(rows);
  const at::Tensor sequences = x.dim() == 3 ? x : x.unsqueeze(0);
  if (sums_wanted_) tensor::AddColumnSums(sequences, sums_);
  if (needs_.sample_rows > 0) AddSample(rows);
  tokens_ += rows.size(0);
  sequences_ += sequences.size(0);
}

method::InputStatistics InputAccumulator::Take() {
  method::InputStatistics statistics;
  if (moment_) {
    statistics.second_moment = moment_->Full();
    statistics.square_sum = statistics.second_moment.diagonal().clone();
  } else {
    statistics.square_sum = sums_.square_sum;
  }
  statistics.absolute_sum = sums_.absolute_sum;
  statistics.absolute_max = sums_.absolute_max;
  statistics.sum = sums_.sum;
  statistics.variance_sum = sums_.variance_sum;
  if (!sample_.empty()) {
    const at::Tensor sample = at::cat(sample_);
    statistics.sample = sample.narrow(0, 0, std::min(needs_.sample_rows, sample.size(0)));
  }
  statistics.tokens = tokens_;
  statistics.sequences = sequences_;
  return statistics;
}

}  // namespace calipress::engine
