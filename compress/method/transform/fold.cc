#include "compress/method/transform/fold.h"

#include <algorithm>
#include <string>
#include <utility>

#include <ATen/ATen.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::method::transform {
namespace {

constexpr int64_t kRows = 256;  // of the second moment that are rescaled together

// max|w| over a dimension, fp32.
absl::StatusOr<at::Tensor> LargestOf(const TransformBlock& block, const TransformLinear& linear, int64_t dimension) {
  const at::Tensor largest = linear.weight.abs().amax(dimension).to(at::kFloat);
  if (at::isfinite(largest).all().item<bool>()) return largest;
  return PreconditionError(reason::kNonFiniteWeights, linear.role + ".weight of block " + std::to_string(block.index) +
                                                          " holds NaN or Inf; repair the source model");
}

at::Tensor FiniteIn(const at::Tensor& values, at::ScalarType dtype) { return at::isfinite(values.to(dtype)); }

// g / s in the norm's dtype.
at::Tensor DividedNorm(const InputGroup& group, const at::Tensor& scales) {
  return group.norm->to(at::kFloat).div(scales).to(group.norm->scalar_type());
}

struct Scaled {
  at::Tensor scales;
  at::Tensor norm;  // the new one; undefined where there is none
};

Scaled Effective(const InputGroup& group, const at::Tensor& asked) {
  at::Tensor scales = asked.to(group.largest_column.device(), at::kFloat);
  at::Tensor right = at::isfinite(scales).logical_and_(scales.gt(0.0));
  at::Tensor norm;
  if (group.norm != nullptr) {
    norm = DividedNorm(group, scales);
    right.logical_and_(at::isfinite(norm)).logical_and_(norm.ne(0.0));
    scales = group.norm->to(at::kFloat).div(norm.to(at::kFloat));
  } else {
    right.logical_and_(FiniteIn(group.largest_row.div(scales), group.producer->weight.scalar_type()));
  }
  right.logical_and_(FiniteIn(group.largest_column.mul(scales), group.consumers.front()->weight.scalar_type()));
  const at::Tensor one = at::ones_like(scales);
  return {at::where(right, scales, one), norm.defined() ? at::where(right, norm, *group.norm) : norm};
}

void Divide(at::Tensor& sum, const at::Tensor& scales) {
  if (sum.defined()) sum = sum.div(scales);
}

}  // namespace

absl::StatusOr<std::optional<InputGroup>> GroupOf(TransformBlock& block, int input) {
  InputGroup group;
  group.input = input;
  for (TransformLinear& linear : block.linears) {
    if (linear.input == input) group.consumers.push_back(&linear);
    if (input == 1 && linear.role == "v_proj") group.producer = &linear;
    if (input == 3 && linear.role == "up_proj") group.producer = &linear;
  }
  if (group.consumers.empty()) return std::nullopt;
  if (input == 0) group.norm = &block.input_norm;
  if (input == 2) group.norm = &block.post_attention_norm;
  if (group.norm == nullptr) {
    if (group.producer == nullptr || group.producer->weight.size(0) != group.consumers.front()->weight.size(1)) {
      return std::nullopt;
    }
    CALIPRESS_ASSIGN_OR_RETURN(group.largest_row, LargestOf(block, *group.producer, 1));
  }
  for (const TransformLinear* linear : group.consumers) {
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor largest, LargestOf(block, *linear, 0));
    group.largest_column = group.largest_column.defined() ? at::maximum(group.largest_column, largest) : largest;
  }
  return group;
}

at::Tensor EffectiveScales(const InputGroup& group, const at::Tensor& scales) {
  return Effective(group, scales).scales;
}

at::Tensor ScaledColumns(const at::Tensor& weight, const at::Tensor& scales) {
  return weight.to(at::kFloat).mul(scales).to(weight.scalar_type());
}

void Fold(const InputGroup& group, const at::Tensor& scales, InputStatistics& statistics) {
  const Scaled scaled = Effective(group, scales);
  if (group.norm != nullptr) {
    *group.norm = scaled.norm;
  } else {
    TransformLinear& producer = *group.producer;
    const auto dtype = producer.weight.scalar_type();
    producer.weight = producer.weight.to(at::kFloat).div(scaled.scales.unsqueeze(1)).to(dtype);
    if (producer.bias.defined()) {
      producer.bias = producer.bias.to(at::kFloat).div(scaled.scales).to(producer.bias.scalar_type());
    }
  }
  for (TransformLinear* linear : group.consumers) linear->weight = ScaledColumns(linear->weight, scaled.scales);
  RescaleStatistics(scaled.scales, statistics);
}

void RescaleStatistics(const at::Tensor& scales, InputStatistics& statistics) {
  if (statistics.second_moment.defined()) {
    // One factor per entry, so that both triangles stay equal.
    const at::Tensor inverse = scales.reciprocal();
    for (int64_t row = 0; row < scales.size(0); row += kRows) {
      const int64_t rows = std::min(kRows, scales.size(0) - row);
      statistics.second_moment.narrow(0, row, rows)
          .mul_(inverse.narrow(0, row, rows).unsqueeze(1).mul(inverse.unsqueeze(0)));
    }
  }
  const at::Tensor squares = scales.square();
  Divide(statistics.square_sum, squares);
  Divide(statistics.variance_sum, squares);
  Divide(statistics.absolute_sum, scales);
  Divide(statistics.absolute_max, scales);
  Divide(statistics.sum, scales);
  if (statistics.sample.defined()) {
    statistics.sample = statistics.sample.to(at::kFloat).div(scales).to(statistics.sample.scalar_type());
  }
}

}  // namespace calipress::method::transform
