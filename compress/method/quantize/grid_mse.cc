#include "compress/method/quantize/grid_mse.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

namespace calipress::method {
namespace {

using checkpoint::NumberType;
using checkpoint::QuantizationScheme;

constexpr int kShrinks = 80;
constexpr double kExponent = 2.4;
// Weights that are tried together: on the CPU few enough for the steps below to stay in the cache.
constexpr int64_t kWeightsPerTask = 1 << 15;
constexpr int64_t kWeightsOnDevice = 1 << 24;

// Errors of one grid on some rows, by row and group: sum |w' - w|^2.4 in units of `unit`, so that the power neither
// overflows nor vanishes. `weight` [rows, groups, width] fp32; grids and units [rows or 1, groups, 1] on its device.
at::Tensor Errors(const at::Tensor& weight, const Grid& grid, const at::Tensor& unit, at::ScalarType dtype,
                  const QuantizationScheme& scheme) {
  const at::Tensor scale = grid.scales.to(at::kFloat);
  at::Tensor multiple = weight.div(scale);
  if (scheme.type == NumberType::kFloat) {
    multiple =
        multiple.clamp_(-checkpoint::kLargestE4m3, checkpoint::kLargestE4m3).to(at::kFloat8_e4m3fn).to(at::kFloat);
  } else {
    const double half = std::ldexp(1.0, scheme.bits - 1);
    multiple.round_();
    if (grid.zero_points.defined()) multiple.add_(grid.zero_points);
    multiple.clamp_(-half, half - 1.0);
    if (grid.zero_points.defined()) multiple.sub_(grid.zero_points);
  }
  return multiple.mul_(scale).to(dtype).to(at::kFloat).sub_(weight).div_(unit).abs_().pow_(kExponent).sum(2);
}

// The grids of all ranges that are tried, as [scale rows, groups, 1].
std::vector<Grid> Candidates(const Ranges& ranges, at::Device device, at::ScalarType dtype,
                             const QuantizationScheme& scheme) {
  std::vector<Grid> grids;
  for (int i = 0; i < kShrinks; ++i) {
    const double share = 1.0 - i / 100.0;
    Grid grid = GridOf({ranges.low.mul(share), ranges.high.mul(share)}, dtype, scheme);
    grid.scales = grid.scales.to(device).unsqueeze(2);
    if (grid.zero_points.defined()) grid.zero_points = grid.zero_points.to(device).unsqueeze(2);
    grids.push_back(std::move(grid));
  }
  return grids;
}

// Rows [row, row + rows) of the scales.
Grid RowsOf(const Grid& grid, int64_t row, int64_t rows) {
  return {grid.scales.narrow(0, row, rows),
          grid.zero_points.defined() ? grid.zero_points.narrow(0, row, rows) : grid.zero_points};
}

}  // namespace

Grid FitMseGrid(const at::Tensor& weight, const QuantizationScheme& scheme) {
  const int64_t rows = weight.size(0), columns = weight.size(1), groups = scheme.Groups(columns);
  const int64_t width = scheme.GroupWidth(columns), shared = scheme.RowsPerScale(rows);
  const at::ScalarType dtype = weight.scalar_type();
  const std::vector<Grid> grids = Candidates(RangesOf(weight, scheme), weight.device(), dtype, scheme);
  const at::Tensor units = grids[0].scales.to(at::kFloat);
  const at::Tensor errors = at::zeros({kShrinks, units.size(0), groups}, weight.options().dtype(at::kDouble));

  // Rows of one scale are one item, and added up in order: the sums do not depend on the threads.
  const int64_t step = std::max<int64_t>(1, (weight.is_cpu() ? kWeightsPerTask : kWeightsOnDevice) / columns);
  const int64_t item_rows = shared == 1 ? step : shared;
  const auto item = [&](int64_t index) {
    const int64_t end = std::min(rows, (index + 1) * item_rows);
    for (int64_t row = index * item_rows; row < end; row += step) {
      const int64_t count = std::min(step, end - row);
      const int64_t scale_row = row / shared, scale_count = shared == 1 ? count : 1;
      // What pads the last group is zero, and so is its error.
      const at::Tensor values =
          at::constant_pad_nd(weight.narrow(0, row, count).to(at::kFloat), {0, groups * width - columns})
              .view({count, groups, width});
      for (int i = 0; i < kShrinks; ++i) {
        at::Tensor error = Errors(values, RowsOf(grids[i], scale_row, scale_count),
                                  units.narrow(0, scale_row, scale_count), dtype, scheme);
        if (shared > 1) error = error.sum(0, /*keepdim=*/true, at::kDouble);
        errors.select(0, i).narrow(0, scale_row, scale_count).add_(error);
      }
    }
  };
  at::parallel_for(0, (rows + item_rows - 1) / item_rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) item(index);
  });
  // The first of the least.
  const at::Tensor best = errors.argmin(0, /*keepdim=*/true);
  std::vector<at::Tensor> scales, zeros;
  for (const Grid& grid : grids) {
    scales.push_back(grid.scales.squeeze(2));
    if (grid.zero_points.defined()) zeros.push_back(grid.zero_points.squeeze(2));
  }
  Grid grid{at::stack(scales).gather(0, best).squeeze(0), {}};
  if (!zeros.empty()) grid.zero_points = at::stack(zeros).gather(0, best).squeeze(0);
  return grid;
}

}  // namespace calipress::method
