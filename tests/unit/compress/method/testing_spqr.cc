#include "tests/unit/compress/method/testing_spqr.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>

namespace calipress::method {
namespace {

double RoundAs(double value, at::ScalarType dtype) {
  return at::scalar_tensor(value, at::kDouble).to(dtype).item<double>();
}

struct PlainGrid {
  double scale, zero;
  double Code(double w, int levels) const {
    return std::clamp(std::nearbyint(w / scale + zero), 0.0, static_cast<double>(levels));
  }
  double Round(double w, int levels) const { return scale * (Code(w, levels) - zero); }
};

PlainGrid FitPlain(const std::vector<double>& values, int levels) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double scale = *high > *low ? (*high - *low) / levels : 1.0;
  return {scale, -*low / scale};
}

double ErrorOf(const std::vector<double>& values, const std::vector<double>& u, int levels) {
  const PlainGrid grid = FitPlain(values, levels);
  double sum = 0.0;
  for (size_t i = 0; i < values.size(); ++i) sum += std::pow((grid.Round(values[i], levels) - values[i]) / u[i], 2);
  return sum;
}

// The group without its likely outliers, which the mean of the others stands for.
std::vector<double> WithoutOutliers(const std::vector<double>& values, const std::vector<double>& u, int levels,
                                    double threshold) {
  const double all = ErrorOf(values, u, levels);
  std::vector<bool> outlier(values.size());
  double sum = 0.0;
  int64_t kept = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    std::vector<double> rest = values, rest_u = u;
    rest.erase(rest.begin() + i);
    rest_u.erase(rest_u.begin() + i);
    outlier[i] = all - ErrorOf(rest, rest_u, levels) > threshold;
    if (outlier[i]) continue;
    sum += values[i];
    ++kept;
  }
  std::vector<double> result = values;
  for (size_t i = 0; i < values.size(); ++i) {
    if (outlier[i]) result[i] = sum / static_cast<double>(std::max<int64_t>(kept, 1));
  }
  return result;
}

// The ends of the best share of the range of `fitted`, which is the group or what is left of it.
std::vector<double> Shrunk(const std::vector<double>& fitted, const std::vector<double>& group,
                           const std::vector<double>& u, int levels, double cap) {
  const auto [low, high] = std::minmax_element(fitted.begin(), fitted.end());
  double best = std::numeric_limits<double>::infinity();
  std::vector<double> ends;
  for (int step = 0; step < 80; ++step) {
    const double share = 1.0 - 0.01 * step;
    const PlainGrid grid = FitPlain({share * *low, share * *high}, levels);
    double sum = 0.0;
    for (size_t i = 0; i < group.size(); ++i) {
      sum += std::min(cap, std::pow((grid.Round(group[i], levels) - group[i]) / u[i], 2));
    }
    if (sum >= best) continue;
    best = sum;
    ends = {share * *low, share * *high};
  }
  return ends;
}

// Replaces values by what their second-level codes stand for.
void Requantize(std::vector<double>& values, int levels, at::ScalarType dtype) {
  const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
  const double low = RoundAs(*smallest, dtype);
  const double step = RoundAs(std::max(0.0, (*largest - low) / levels), dtype);
  for (double& value : values) {
    const double code = step > 0 ? std::clamp(std::nearbyint((value - low) / step), 0.0, double(levels)) : 0.0;
    value = static_cast<float>(code * step + low);
  }
}

std::vector<PlainGrid> RunOfGrids(const std::vector<std::vector<double>>& rows, const spqr::SweepOptions& options,
                                  at::ScalarType dtype) {
  const int levels = (1 << options.bits) - 1;
  std::vector<double> scales, zeros, lows;
  double scale_sum = 0.0, zero_sum = 0.0, size = 0.0;
  int proper = 0;
  for (const auto& row : rows) {
    const auto [low, high] = std::minmax_element(row.begin(), row.end());
    scales.push_back((*high - *low) / levels);
    zeros.push_back(scales.back() > 0 ? -*low / scales.back() : 0.0);
    lows.push_back(*low);
    scale_sum += scales.back();
    zero_sum += zeros.back();
    if (scales.back() > 0) {
      ++proper;
    } else {
      size = std::max(size, std::abs(*low));
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (scales[i] > 0) continue;
    scales[i] = proper > 0 ? scale_sum / proper : (size > 0 ? size : 1.0);
    const double near = proper > 0 ? zero_sum / proper : 0.0;
    zeros[i] = std::clamp(std::nearbyint(near + lows[i] / scales[i]), 0.0, double(levels)) - lows[i] / scales[i];
  }
  Requantize(scales, (1 << options.scale_bits) - 1, dtype);
  Requantize(zeros, (1 << options.zero_bits) - 1, dtype);
  std::vector<PlainGrid> grids;
  for (size_t i = 0; i < rows.size(); ++i) grids.push_back({scales[i], zeros[i]});
  return grids;
}

}  // namespace

ReferenceSpqrResult ReferenceSpqr(const at::Tensor& weight, const at::Tensor& second_moment,
                                  const spqr::SweepOptions& options, bool act_order, double damping) {
  const int64_t rows = weight.size(0), columns = weight.size(1), width = options.group_size;
  const at::ScalarType dtype = weight.scalar_type();
  const int levels = (1 << options.bits) - 1;
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
  dead = dead.index_select(0, order);
  const at::Tensor u = at::linalg_cholesky(at::linalg_inv(h)).t().contiguous();
  const at::Tensor pivots = u.diagonal().clone().masked_fill_(dead, std::numeric_limits<double>::infinity());
  const double* pivot = pivots.const_data_ptr<double>();
  double threshold = options.outlier_threshold;
  if (std::isfinite(threshold)) threshold *= at::var(w, 0).div(u.diagonal().square()).mean().item<double>();
  ReferenceSpqrResult result{at::zeros({rows, columns}, at::kByte), at::zeros({rows, columns}, at::kBool),
                             at::zeros({rows, columns}, at::kDouble)};
  std::vector<PlainGrid> grids(rows);
  for (int64_t i = 0; i < columns; ++i) {
    if (i % width == 0) {
      std::vector<double> group_u(pivot + i, pivot + i + width);
      for (int64_t run = 0; run < rows; run += options.scale_group_size) {
        std::vector<std::vector<double>> groups;
        for (int64_t r = run; r < std::min(rows, run + options.scale_group_size); ++r) {
          const double* from = w.const_data_ptr<double>() + r * columns + i;
          std::vector<double> values(from, from + width);
          if (options.leave_one_out && std::isfinite(threshold)) {
            values = WithoutOutliers(values, group_u, levels, threshold);
          }
          if (options.shrink_ranges) values = Shrunk(values, {from, from + width}, group_u, levels, threshold);
          groups.push_back(values);
        }
        const auto fitted = RunOfGrids(groups, options, dtype);
        std::copy(fitted.begin(), fitted.end(), grids.begin() + run);
      }
    }
    const int64_t column = order[i].item<int64_t>();
    at::Tensor error = at::zeros({rows}, at::kDouble);
    for (int64_t r = 0; r < rows; ++r) {
      const double wanted = w.const_data_ptr<double>()[r * columns + i];
      double value = RoundAs(grids[r].Round(wanted, levels), dtype);
      const bool outlier = std::pow((wanted - value) / pivot[i], 2) > threshold;
      if (outlier) value = RoundAs(wanted, dtype);
      if (!outlier) result.codes[r][i] = grids[r].Code(wanted, levels);
      result.outliers[r][column] = outlier;
      result.dequantized[r][column] = value;
      error[r] = wanted - value;
      result.loss += std::pow((wanted - value) / pivot[i], 2);
    }
    w.narrow(1, i, columns - i).sub_(at::outer(error.div(u[i][i]), u[i].narrow(0, i, columns - i)));
  }
  result.loss /= mean;
  return result;
}

at::Tensor OutlierMask(const SpqrWeight& weight) {
  at::Tensor mask = at::zeros(weight.codes.sizes(), at::kBool);
  const int32_t* offsets = weight.outlier_offsets.const_data_ptr<int32_t>();
  for (int64_t r = 0; r < mask.size(0); ++r) {
    for (int32_t i = offsets[r]; i < offsets[r + 1]; ++i) mask[r][weight.outlier_columns[i].item<int64_t>()] = true;
  }
  return mask;
}

v1::Step SpqrStep(int bits, double outlier_threshold) {
  v1::Step step;
  v1::Spqr& options = *step.mutable_spqr();
  options.set_bits(bits);
  options.set_group_size(16);
  options.set_scale_bits(3);
  options.set_zero_bits(3);
  options.set_scale_group_size(16);
  options.set_outlier_threshold(outlier_threshold);
  options.set_act_order(true);
  options.set_damping(1.0);
  options.set_true_sequential(true);
  options.set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FALLBACK);
  return step;
}

}  // namespace calipress::method
