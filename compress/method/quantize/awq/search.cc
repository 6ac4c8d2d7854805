#include "compress/method/quantize/awq/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <ATen/ATen.h>

#include "compress/method/quantize/awq/output_error.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method::awq {
namespace {

constexpr double kLeast = 1e-4;        // of a scale before it is normalized; llm-awq's
constexpr double kGroupFloor = 1e-6;   // added to the largest weight of a group; AutoAWQ's
constexpr double kWeightFloor = 1e-4;  // added to the weights' part; AutoAWQ's

// W - Q(W s) / s of some rows, fp32.
at::Tensor ChangeOf(const at::Tensor& rows, const at::Tensor& scales, const checkpoint::QuantizationScheme& scheme) {
  const at::Tensor scaled = transform::ScaledColumns(rows, scales);
  Grid grid = FitMinMaxGrid(scaled, scheme);
  at::Tensor codes = NearestCodes(scaled, grid, scheme);
  const at::Tensor rounded =
      Dequantize({scheme, std::move(codes), std::move(grid.scales), std::move(grid.zero_points)});
  return rows.to(at::kFloat).sub(rounded.to(at::kFloat).div(scales));
}

// The error of a candidate, or anything that is not below `bound`: no row takes from the sum.
double ErrorOf(const transform::InputGroup& group, const at::Tensor& scales, const at::Tensor& moment,
               const checkpoint::QuantizationScheme& scheme, double bound) {
  double error = 0.0;
  for (const TransformLinear* linear : group.consumers) {
    if (!linear->targeted) continue;
    const at::Tensor weight = linear->weight.contiguous();
    for (int64_t row = 0; row < weight.size(0); row += kRowsAtOnce) {
      const at::Tensor rows = weight.narrow(0, row, std::min(kRowsAtOnce, weight.size(0) - row));
      error += QuadraticForm(ChangeOf(rows, scales, scheme), moment);
      if (!(error < bound)) return error;
    }
  }
  return error;
}

}  // namespace

at::Tensor MeanWeights(const transform::InputGroup& group, const checkpoint::QuantizationScheme& scheme) {
  at::Tensor sum;
  int64_t rows = 0;
  for (const TransformLinear* linear : group.consumers) {
    if (!linear->targeted) continue;
    const int64_t columns = linear->weight.size(1), groups = scheme.Groups(columns);
    for (int64_t row = 0; row < linear->weight.size(0); row += kRowsAtOnce) {
      const int64_t count = std::min(kRowsAtOnce, linear->weight.size(0) - row);
      at::Tensor sizes = linear->weight.narrow(0, row, count).to(at::kFloat).abs().view({count, groups, -1});
      sizes = sizes.div(sizes.amax(2, /*keepdim=*/true).add_(kGroupFloor));
      const at::Tensor part = sizes.view({count, columns}).sum(0, /*keepdim=*/false, at::kDouble);
      sum = sum.defined() ? sum.add_(part) : part;
      rows += count;
    }
  }
  return sum.div_(static_cast<double>(rows)).cpu();
}

at::Tensor CandidateScales(const at::Tensor& mean_inputs, const at::Tensor& mean_weights, double exponent) {
  const at::Tensor alive = mean_inputs.gt(0.0);
  const at::Tensor one = at::ones_like(mean_inputs);
  if (!alive.any().item<bool>()) return one.to(at::kFloat);
  at::Tensor scales = mean_inputs.pow(exponent);
  if (mean_weights.defined()) scales.div_(mean_weights.pow(1.0 - exponent).add_(kWeightFloor));
  scales.clamp_min_(kLeast);
  const at::Tensor counted = scales.masked_select(alive);
  scales.div_(std::sqrt(counted.max().item<double>() * counted.min().item<double>()));
  return at::where(alive.logical_and(at::isfinite(scales)), scales, one).to(at::kFloat);
}

SearchResult SearchScales(const transform::InputGroup& group, const InputStatistics& statistics,
                          const SearchOptions& options) {
  const at::Tensor& moment = statistics.second_moment;
  const at::Tensor mean_inputs = statistics.absolute_sum.to(at::kCPU, at::kDouble)
                                     .div(static_cast<double>(std::max<int64_t>(1, statistics.tokens)));
  const at::Tensor mean_weights = options.duo ? MeanWeights(group, options.scheme) : at::Tensor();
  SearchResult best;
  best.error = best.identity_error = ErrorOf(group, at::ones_like(group.largest_column), moment, options.scheme,
                                             std::numeric_limits<double>::infinity());
  // Without the weights' part the exponent 0 is the identity.
  for (int step = options.duo ? 0 : 1; step < options.grid; ++step) {
    const double exponent = static_cast<double>(step) / options.grid;
    at::Tensor scales = CandidateScales(mean_inputs, mean_weights, exponent);
    const at::Tensor effective = transform::EffectiveScales(group, scales);
    const double error = ErrorOf(group, effective, moment, options.scheme, best.error);
    if (!(error < best.error)) continue;
    best.scales = std::move(scales);
    best.exponent = exponent;
    best.error = error;
  }
  return best;
}

}  // namespace calipress::method::awq
