#include "compress/method/quantize/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "compress/base/error.h"
#include "compress/method/quantize/grid_mse.h"

namespace calipress::method {
namespace {

using checkpoint::kLargestE4m3;

constexpr int64_t kRowsPerTask = 16;

// A scale in the dtype: rounded to nearest, but never so large that the largest multiple overflows when a loader
// computes it, and never zero. Below the normal numbers f16 rounds up, so that a coarse scale does not clip; bf16 and
// fp32 stop at the smallest normal number, because devices flush what is smaller.
template <typename T>
T RoundScale(float scale, float largest_multiple) {
  auto overflows = [largest_multiple](T value) {
    const T product = static_cast<T>(static_cast<float>(value) * largest_multiple);
    return !std::isfinite(static_cast<float>(product));
  };
  const float largest = static_cast<float>(std::numeric_limits<T>::max()) / largest_multiple;
  T rounded = static_cast<T>(std::min(scale, largest));
  // The limit itself may have been rounded up.
  while (overflows(rounded)) rounded = static_cast<T>(static_cast<float>(rounded) * 0.99f);
  const float smallest = static_cast<float>(std::numeric_limits<T>::min());
  if (scale >= smallest) return rounded;
  if constexpr (std::is_same_v<T, at::Half>) {
    const float step = std::ldexp(1.0f, -24);
    return static_cast<T>(std::max(1.0f, std::ceil(scale / step)) * step);
  }
  return static_cast<T>(smallest);
}

template <typename T>
void GroupRange(const T* values, int64_t count, float* low, float* high) {
  constexpr int kLanes = 16;
  float lows[kLanes] = {}, highs[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = static_cast<float>(values[i + lane]);
      lows[lane] = value < lows[lane] ? value : lows[lane];
      highs[lane] = value > highs[lane] ? value : highs[lane];
    }
  }
  for (; i < count; ++i) {
    lows[0] = std::min(lows[0], static_cast<float>(values[i]));
    highs[0] = std::max(highs[0], static_cast<float>(values[i]));
  }
  *low = *std::min_element(lows, lows + kLanes);
  *high = *std::max_element(highs, highs + kLanes);
}

// Of each row and group.
Ranges RowRanges(const at::Tensor& weight, int64_t groups, int64_t width) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  if (!weight.is_cpu()) {
    const at::Tensor padded = at::constant_pad_nd(weight, {0, groups * width - columns}).view({rows, groups, width});
    auto [low, high] = at::aminmax(padded, 2);
    return {low.to(at::kFloat).clamp_max_(0.0).cpu(), high.to(at::kFloat).clamp_min_(0.0).cpu()};
  }
  Ranges ranges{at::empty({rows, groups}, at::kFloat), at::empty({rows, groups}, at::kFloat)};
  float* low = ranges.low.mutable_data_ptr<float>();
  float* high = ranges.high.mutable_data_ptr<float>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "RowRanges", [&] {
    const auto* data = weight.const_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * groups; i < end * groups; ++i) {
        const int64_t first = i % groups * width;
        GroupRange(data + i / groups * columns + first, std::min(width, columns - first), low + i, high + i);
      }
    });
  });
  return ranges;
}

// What the rows of one weight are coded with. Rows share scales in runs of `rows_per_scale`.
template <typename T>
struct RowGrid {
  RowGrid(const Grid& grid, const checkpoint::QuantizationScheme& scheme, int64_t rows, int64_t columns_)
      : scales(grid.scales.const_data_ptr<T>()),
        zero_points(grid.zero_points.defined() ? grid.zero_points.const_data_ptr<int8_t>() : nullptr),
        groups(grid.scales.size(1)),
        width(scheme.GroupWidth(columns_)),
        columns(columns_),
        rows_per_scale(scheme.RowsPerScale(rows)),
        bits(scheme.bits) {}

  const T* scales;
  const int8_t* zero_points;  // null: none
  int64_t groups, width, columns, rows_per_scale;
  int bits;
};

template <typename T>
void RowCodes(const T* weight, const RowGrid<T>& grid, int64_t row, int8_t* codes) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for a fraction
  for (int64_t g = 0; g < grid.groups; ++g) {
    const int64_t at = row / grid.rows_per_scale * grid.groups + g;
    const float scale = static_cast<float>(grid.scales[at]);
    const float zero = grid.zero_points == nullptr ? 0.0f : static_cast<float>(grid.zero_points[at]);
    const float low = -std::ldexp(1.0f, grid.bits - 1) - zero, high = std::ldexp(1.0f, grid.bits - 1) - 1.0f - zero;
    const int64_t end = std::min(grid.columns, (g + 1) * grid.width);
    for (int64_t i = g * grid.width; i < end; ++i) {
      float multiple = static_cast<float>(weight[i]) / scale;
      multiple = multiple < low ? low : multiple;
      multiple = multiple > high ? high : multiple;
      codes[i] = static_cast<int8_t>(static_cast<int32_t>((multiple + kRound) - kRound + zero));
    }
  }
}

template <typename T>
void RowCodes(const T* weight, const RowGrid<T>& grid, int64_t row, at::Float8_e4m3fn* codes) {
  for (int64_t g = 0; g < grid.groups; ++g) {
    const float scale = static_cast<float>(grid.scales[row / grid.rows_per_scale * grid.groups + g]);
    const int64_t end = std::min(grid.columns, (g + 1) * grid.width);
    for (int64_t i = g * grid.width; i < end; ++i) {
      // The conversion makes NaN of what is beyond the largest code.
      codes[i] = at::Float8_e4m3fn(std::clamp(static_cast<float>(weight[i]) / scale, -kLargestE4m3, kLargestE4m3));
    }
  }
}

at::Tensor NearestOnDevice(const at::Tensor& weight, const Grid& grid, const checkpoint::QuantizationScheme& scheme) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  at::Tensor codes = weight.to(at::kFloat).div(SpreadOverWeight(grid.scales, rows, columns, scheme).to(at::kFloat));
  if (scheme.type == checkpoint::NumberType::kFloat) {
    return codes.clamp_(-kLargestE4m3, kLargestE4m3).to(at::kFloat8_e4m3fn);
  }
  codes.round_();
  if (grid.zero_points.defined()) codes.add_(SpreadOverWeight(grid.zero_points, rows, columns, scheme));
  return codes.clamp_(-(1 << (scheme.bits - 1)), (1 << (scheme.bits - 1)) - 1).to(at::kChar);
}

bool AllFinite(const at::Tensor& weight) { return at::isfinite(weight).all().item<bool>(); }

}  // namespace

Ranges RangesOf(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme) {
  const int64_t rows = weight.size(0), groups = scheme.Groups(weight.size(1));
  const int64_t shared = scheme.RowsPerScale(rows), scale_rows = scheme.ScaleRows(rows);
  Ranges ranges = RowRanges(weight, groups, scheme.GroupWidth(weight.size(1)));
  if (shared == 1) return ranges;
  // Rows that only pad have the range of zeros.
  const auto padded = [&](const at::Tensor& values) {
    return at::constant_pad_nd(values, {0, 0, 0, scale_rows * shared - rows}).view({scale_rows, shared, groups});
  };
  return {padded(ranges.low).amin(1), padded(ranges.high).amax(1)};
}

Grid GridOf(const Ranges& ranges, at::ScalarType dtype, const checkpoint::QuantizationScheme& scheme) {
  const float* low = ranges.low.const_data_ptr<float>();
  const float* high = ranges.high.const_data_ptr<float>();
  const bool floats = scheme.type == checkpoint::NumberType::kFloat;
  const int levels = (1 << scheme.bits) - 1;
  const int code_low = -(1 << (scheme.bits - 1)), code_high = (1 << (scheme.bits - 1)) - 1;
  Grid grid{at::empty(ranges.low.sizes(), dtype), {}};
  if (!scheme.symmetric) grid.zero_points = at::empty(ranges.low.sizes(), at::kChar);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, dtype, "GridOf", [&] {
    auto* scale = grid.scales.mutable_data_ptr<scalar_t>();
    for (int64_t i = 0; i < grid.scales.numel(); ++i) {
      const float reach = std::max(-low[i], high[i]);
      if (floats) {
        scale[i] = reach == 0.0f ? scalar_t(1.0f) : RoundScale<scalar_t>(reach / kLargestE4m3, kLargestE4m3);
        continue;
      }
      if (scheme.symmetric) {
        scale[i] = reach == 0.0f ? scalar_t(1.0f) : RoundScale<scalar_t>(reach / (0.5f * levels), -code_low);
        continue;
      }
      // Divided before they are added: the sum may overflow.
      scale[i] = reach == 0.0f ? scalar_t(1.0f) : RoundScale<scalar_t>(high[i] / levels - low[i] / levels, levels);
      const float zero = static_cast<float>(code_low) - low[i] / static_cast<float>(scale[i]);
      grid.zero_points.mutable_data_ptr<int8_t>()[i] = static_cast<int8_t>(
          std::clamp(std::nearbyint(zero), static_cast<float>(code_low), static_cast<float>(code_high)));
    }
  });
  return grid;
}

Grid FitMinMaxGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme) {
  Grid grid = GridOf(RangesOf(weight, scheme), weight.scalar_type(), scheme);
  if (grid.zero_points.defined()) grid.zero_points = grid.zero_points.to(weight.device());
  return {grid.scales.to(weight.device()), grid.zero_points};
}

Grid FitGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme, Observer observer) {
  return observer == Observer::kMse ? FitMseGrid(weight, scheme) : FitMinMaxGrid(weight, scheme);
}

at::Tensor NearestCodes(const at::Tensor& weight, const Grid& grid, const checkpoint::QuantizationScheme& scheme) {
  if (!weight.is_cpu()) return NearestOnDevice(weight, grid, scheme);
  const int64_t rows = weight.size(0), columns = weight.size(1);
  const bool floats = scheme.type == checkpoint::NumberType::kFloat;
  at::Tensor codes = at::empty({rows, columns}, floats ? at::kFloat8_e4m3fn : at::kChar);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "NearestCodes", [&] {
    const auto* data = weight.const_data_ptr<scalar_t>();
    const RowGrid<scalar_t> row_grid(grid, scheme, rows, columns);
    const auto code_rows = [&](auto* out) {
      at::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) RowCodes(data + row * columns, row_grid, row, out + row * columns);
      });
    };
    floats ? code_rows(codes.mutable_data_ptr<at::Float8_e4m3fn>()) : code_rows(codes.mutable_data_ptr<int8_t>());
  });
  return codes;
}

at::Tensor SpreadOverWeight(const at::Tensor& values, int64_t out, int64_t in,
                            const checkpoint::QuantizationScheme& scheme) {
  return values.repeat_interleave(scheme.RowsPerScale(out), 0)
      .narrow(0, 0, out)
      .repeat_interleave(scheme.GroupWidth(in), 1)
      .narrow(1, 0, in);
}

absl::Status CheckWeight(std::string_view module, const at::Tensor& weight,
                         const checkpoint::QuantizationScheme& scheme) {
  const std::string name(module);
  const at::ScalarType dtype = weight.scalar_type();
  if (weight.dim() != 2 || (dtype != at::kBFloat16 && dtype != at::kHalf && dtype != at::kFloat)) {
    return UserError(reason::kUnsupportedModel,
                     name + ".weight is not a matrix in bf16, f16 or fp32; add the linear to the step's `ignore`");
  }
  const int64_t columns = weight.size(1);
  if (scheme.strategy == checkpoint::Strategy::kGroup && columns % scheme.GroupWidth(columns) != 0) {
    return UserError(reason::kInvalidRecipe, name + ".weight has " + std::to_string(columns) +
                                                 " columns, which groups of " + std::to_string(scheme.group_size) +
                                                 " do not divide; choose a group_size that does, or -1");
  }
  if (!AllFinite(weight)) {
    return PreconditionError(reason::kNonFiniteWeights,
                             name +
                                 ".weight holds NaN or Inf; repair the source model or add the linear to the "
                                 "step's `ignore`");
  }
  return absl::OkStatus();
}

}  // namespace calipress::method
