#include "compress/method/quantize/awq/clip.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "compress/method/method.h"
#include "compress/method/quantize/awq/output_error.h"

namespace calipress::method::awq {
namespace {

// llm-awq's: twenty steps, of which the ranges down to a half are tried.
constexpr int kSteps = 20, kTried = 10;

// The blocks of S on its diagonal, [groups, width, width].
at::Tensor DiagonalBlocks(const at::Tensor& second_moment, int64_t groups) {
  const int64_t width = second_moment.size(0) / groups;
  std::vector<at::Tensor> blocks;
  for (int64_t g = 0; g < groups; ++g) {
    blocks.push_back(second_moment.narrow(0, g * width, width).narrow(1, g * width, width));
  }
  return at::stack(blocks);
}

// d S d' of each row and group, [rows, groups].
at::Tensor GroupErrors(const at::Tensor& weight, const Grid& grid, const checkpoint::QuantizationScheme& scheme,
                       const at::Tensor& blocks) {
  const at::Tensor rounded = Dequantize({scheme, NearestCodes(weight, grid, scheme), grid.scales, grid.zero_points});
  const at::Tensor change = weight.to(at::kFloat)
                                .sub(rounded.to(at::kFloat))
                                .view({weight.size(0), blocks.size(0), blocks.size(1)})
                                .transpose(0, 1);
  return at::bmm(change, blocks).mul_(change).sum(2, /*keepdim=*/false, at::kDouble).t();
}

Grid FitRows(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme, const at::Tensor& blocks) {
  const int64_t rows = weight.size(0), groups = blocks.size(0);
  const at::Tensor grouped = weight.to(at::kFloat).view({rows, groups, -1});
  const at::Tensor largest = grouped.abs().amax(2, /*keepdim=*/true);
  Grid best = FitMinMaxGrid(weight, scheme);
  at::Tensor least = GroupErrors(weight, best, scheme, blocks);
  for (int step = 1; step < kTried; ++step) {
    const at::Tensor limit = largest.mul(1.0 - static_cast<double>(step) / kSteps);
    const at::Tensor clamped = at::minimum(at::maximum(grouped, limit.neg()), limit).to(weight.scalar_type());
    Grid grid = FitMinMaxGrid(clamped.view({rows, -1}), scheme);
    const at::Tensor errors = GroupErrors(weight, grid, scheme, blocks);
    const at::Tensor better = errors.lt(least);
    least = at::where(better, errors, least);
    best.scales = at::where(better, grid.scales, best.scales);
    if (best.zero_points.defined()) best.zero_points = at::where(better, grid.zero_points, best.zero_points);
  }
  return best;
}

}  // namespace

Grid FitClippedGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme,
                    const at::Tensor& second_moment) {
  const at::Tensor blocks = DiagonalBlocks(second_moment, scheme.Groups(weight.size(1)));
  std::vector<at::Tensor> scales, zero_points;
  for (int64_t row = 0; row < weight.size(0); row += kRowsAtOnce) {
    Grid grid = FitRows(weight.narrow(0, row, std::min(kRowsAtOnce, weight.size(0) - row)), scheme, blocks);
    scales.push_back(std::move(grid.scales));
    if (grid.zero_points.defined()) zero_points.push_back(std::move(grid.zero_points));
  }
  return {at::cat(scales), zero_points.empty() ? at::Tensor() : at::cat(zero_points)};
}

}  // namespace calipress::method::awq
