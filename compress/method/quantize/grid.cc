#include "compress/method/quantize/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "compress/base/error.h"

namespace calipress::method {
namespace {

constexpr int64_t kRowsPerTask = 16;

// A scale in the dtype: rounded to nearest, but never so large that the largest multiple overflows when a loader
// computes it, and never zero. Below the normal numbers f16 rounds up, so that a coarse scale does not clip; bf16 and
// fp32 stop at the smallest normal number, because devices flush what is smaller.
template <typename T>
T RoundScale(float scale, int largest_multiple) {
  auto overflows = [largest_multiple](T value) {
    const T product = static_cast<T>(static_cast<float>(value) * static_cast<float>(largest_multiple));
    return !std::isfinite(static_cast<float>(product));
  };
  const float largest = static_cast<float>(std::numeric_limits<T>::max()) / static_cast<float>(largest_multiple);
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

// Smallest and largest value of each group, both taken with zero.
struct Ranges {
  at::Tensor low, high;  // [out, groups] fp32 on the CPU
};

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

Ranges RangesOf(const at::Tensor& weight, int64_t groups) {
  const int64_t rows = weight.size(0), width = weight.size(1) / groups;
  if (!weight.is_cpu()) {
    auto [low, high] = at::aminmax(weight.view({rows, groups, width}), 2);
    return {low.to(at::kFloat).clamp_max_(0.0).cpu(), high.to(at::kFloat).clamp_min_(0.0).cpu()};
  }
  Ranges ranges{at::empty({rows, groups}, at::kFloat), at::empty({rows, groups}, at::kFloat)};
  float* low = ranges.low.mutable_data_ptr<float>();
  float* high = ranges.high.mutable_data_ptr<float>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "FitMinMaxGrid", [&] {
    const auto* data = weight.const_data_ptr<scalar_t>();
    at::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * groups; i < end * groups; ++i) GroupRange(data + i * width, width, low + i, high + i);
    });
  });
  return ranges;
}

template <typename T>
void RowCodes(const T* weight, const T* scales, const int8_t* zero_points, int64_t groups, int64_t width, int bits,
              int8_t* codes) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for a fraction
  for (int64_t g = 0; g < groups; ++g) {
    const float scale = static_cast<float>(scales[g]);
    const float zero = zero_points == nullptr ? 0.0f : static_cast<float>(zero_points[g]);
    const float low = -std::ldexp(1.0f, bits - 1) - zero, high = std::ldexp(1.0f, bits - 1) - 1.0f - zero;
    for (int64_t i = g * width; i < (g + 1) * width; ++i) {
      float multiple = static_cast<float>(weight[i]) / scale;
      multiple = multiple < low ? low : multiple;
      multiple = multiple > high ? high : multiple;
      codes[i] = static_cast<int8_t>(static_cast<int32_t>((multiple + kRound) - kRound + zero));
    }
  }
}

bool AllFinite(const at::Tensor& weight) { return at::isfinite(weight).all().item<bool>(); }

}  // namespace

Grid FitMinMaxGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme) {
  const int64_t rows = weight.size(0), groups = scheme.Groups(weight.size(1));
  const Ranges ranges = RangesOf(weight, groups);
  const float* low = ranges.low.const_data_ptr<float>();
  const float* high = ranges.high.const_data_ptr<float>();
  const int levels = (1 << scheme.bits) - 1;
  const int code_low = -(1 << (scheme.bits - 1)), code_high = (1 << (scheme.bits - 1)) - 1;
  at::Tensor scales = at::empty({rows, groups}, weight.scalar_type());
  at::Tensor zero_points;
  if (!scheme.symmetric) zero_points = at::empty({rows, groups}, at::kChar);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "FitMinMaxGrid", [&] {
    auto* scale = scales.mutable_data_ptr<scalar_t>();
    for (int64_t i = 0; i < rows * groups; ++i) {
      const float reach = std::max(-low[i], high[i]);
      if (scheme.symmetric) {
        scale[i] = reach == 0.0f ? scalar_t(1.0f) : RoundScale<scalar_t>(reach / (0.5f * levels), -code_low);
        continue;
      }
      // Divided before they are added: the sum may overflow.
      scale[i] = reach == 0.0f ? scalar_t(1.0f) : RoundScale<scalar_t>(high[i] / levels - low[i] / levels, levels);
      const float zero = static_cast<float>(code_low) - low[i] / static_cast<float>(scale[i]);
      zero_points.mutable_data_ptr<int8_t>()[i] = static_cast<int8_t>(
          std::clamp(std::nearbyint(zero), static_cast<float>(code_low), static_cast<float>(code_high)));
    }
  });
  if (zero_points.defined()) zero_points = zero_points.to(weight.device());
  return {scales.to(weight.device()), zero_points};
}

at::Tensor NearestCodes(const at::Tensor& weight, const Grid& grid, const checkpoint::QuantizationScheme& scheme) {
  const int64_t rows = weight.size(0), columns = weight.size(1), groups = grid.scales.size(1);
  if (!weight.is_cpu()) {
    at::Tensor scales = grid.scales.to(at::kFloat).unsqueeze(2);
    at::Tensor codes = weight.to(at::kFloat).view({rows, groups, columns / groups}).div(scales).round_();
    if (grid.zero_points.defined()) codes.add_(grid.zero_points.unsqueeze(2));
    codes.clamp_(-(1 << (scheme.bits - 1)), (1 << (scheme.bits - 1)) - 1);
    return codes.to(at::kChar).view({rows, columns});
  }
  at::Tensor codes = at::empty({rows, columns}, at::kChar);
  const int8_t* zeros = grid.zero_points.defined() ? grid.zero_points.const_data_ptr<int8_t>() : nullptr;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "NearestCodes", [&] {
    const auto* data = weight.const_data_ptr<scalar_t>();
    const auto* scales = grid.scales.const_data_ptr<scalar_t>();
    int8_t* out = codes.mutable_data_ptr<int8_t>();
    at::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        RowCodes(data + row * columns, scales + row * groups, zeros == nullptr ? nullptr : zeros + row * groups, groups,
                 columns / groups, scheme.bits, out + row * columns);
      }
    });
  });
  return codes;
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
  if (scheme.group_size > 0 && columns % scheme.group_size != 0) {
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
