#include "tests/unit/compress/method/testing_problem.h"

#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/tensor/second_moment.h"

namespace calipress::method {

at::Tensor RandomNormal(at::IntArrayRef sizes, uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(sizes, generator, at::kFloat);
}

at::Tensor CorrelatedInputs(int64_t tokens, int64_t columns, uint64_t seed) {
  const int64_t factors = std::max<int64_t>(2, columns / 4);
  at::Tensor mixed = at::mm(RandomNormal({tokens, factors}, seed), RandomNormal({factors, columns}, seed + 1));
  mixed.div_(std::sqrt(static_cast<double>(factors))).add_(RandomNormal({tokens, columns}, seed + 2).mul_(0.3));
  return mixed.mul_(RandomNormal({columns}, seed + 3).exp_());
}

at::Tensor RandomWeight(int64_t rows, int64_t columns, at::ScalarType dtype, uint64_t seed) {
  return RandomNormal({rows, columns}, seed).mul_(0.02).to(dtype);
}

InputStatistics StatisticsOf(const at::Tensor& inputs) {
  tensor::SecondMoment moment(inputs.size(1), at::kCPU);
  moment.Add(inputs);
  return WithMoment(moment.Full(), moment.tokens());
}

InputStatistics WithMoment(const at::Tensor& second_moment, int64_t tokens) {
  InputStatistics statistics;
  statistics.second_moment = second_moment;
  statistics.square_sum = second_moment.diagonal().clone();
  statistics.tokens = tokens;
  return statistics;
}

v1::Step GptqStep(int bits, int64_t group_size, bool symmetric) {
  v1::Step step;
  v1::Gptq& options = *step.mutable_gptq();
  options.set_bits(bits);
  options.set_group_size(group_size);
  options.set_symmetric(symmetric);
  options.set_act_order(true);
  options.set_damping(0.01);
  options.set_true_sequential(true);
  options.set_block_size(128);
  options.set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FALLBACK);
  return step;
}

v1::Step RtnStep(int bits, int64_t group_size, bool symmetric) {
  v1::Step step;
  v1::Rtn& options = *step.mutable_rtn();
  options.set_bits(bits);
  options.set_group_size(group_size);
  options.set_symmetric(symmetric);
  return step;
}

LinearResult CompressOne(const v1::Step& step, const at::Tensor& weight, const InputStatistics* statistics) {
  auto method = MakeMethod(step);
  EXPECT_TRUE(method.ok()) << method.status();
  if (!method.ok()) return {};
  auto results = (*method)->Compress({{"model.layers.0.mlp.down_proj", weight}}, statistics);
  EXPECT_TRUE(results.ok()) << results.status();
  if (!results.ok() || results->size() != 1) return {};
  return std::move(results->front());
}

double Form(const at::Tensor& a, const at::Tensor& second_moment) {
  at::Tensor wide = a.to(at::kDouble);
  return at::mm(wide, second_moment.to(at::kDouble)).mul_(wide).sum().item<double>();
}

ReferenceResult ReferenceGptq(const at::Tensor& weight, const at::Tensor& second_moment, const QuantizedWeight& grid,
                              bool act_order, double damping) {
  const int64_t columns = weight.size(1), width = columns / grid.scales.size(1);
  at::Tensor w = weight.to(at::kDouble).clone();
  at::Tensor h = second_moment.to(at::kDouble).clone();
  at::Tensor dead = h.diagonal().eq(0);
  const double mean = h.diagonal().masked_select(dead.logical_not()).mean().item<double>();
  w.masked_fill_(dead.unsqueeze(0), 0.0);
  at::Tensor order = act_order ? std::get<1>(h.diagonal().sort(/*stable=*/true, 0, /*descending=*/true))
                               : at::arange(columns, at::kLong);
  h.diagonal().masked_fill_(dead, mean).add_(damping * mean);
  w = w.index_select(1, order);
  h = h.index_select(0, order).index_select(1, order);
  at::Tensor u = at::linalg_cholesky(at::linalg_inv(h)).t();
  const double low = -std::ldexp(1.0, grid.scheme.bits - 1), high = -low - 1.0;
  ReferenceResult result{at::empty_like(grid.codes), at::empty_like(w), 0.0};
  for (int64_t i = 0; i < columns; ++i) {
    const int64_t column = order[i].item<int64_t>();
    at::Tensor scale = grid.scales.select(1, column / width);
    at::Tensor zero = grid.zero_points.defined() ? grid.zero_points.select(1, column / width).to(at::kDouble)
                                                 : at::zeros({weight.size(0)}, at::kDouble);
    at::Tensor code = at::round(w.select(1, i).div(scale.to(at::kDouble))).add_(zero).clamp_(low, high);
    // As a loader computes it, in the scale's dtype.
    at::Tensor value = (code.sub(zero)).to(scale.scalar_type()).mul(scale).to(at::kDouble);
    at::Tensor error = w.select(1, i).sub(value).div_(u[i][i]);
    result.loss += error.square().sum().item<double>();
    w.narrow(1, i, columns - i).sub_(at::outer(error, u[i].narrow(0, i, columns - i)));
    result.codes.select(1, column).copy_(code.to(at::kChar));
    result.dequantized.select(1, column).copy_(value);
  }
  return result;
}

double Agreement(const at::Tensor& a, const at::Tensor& b) { return a.eq(b).to(at::kDouble).mean().item<double>(); }

}  // namespace calipress::method
