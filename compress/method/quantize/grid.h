#pragma once

#include <string_view>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::method {

// Where the codes of a weight stand for values: (code - zero point) * scale.
struct Grid {
  at::Tensor scales;       // [ScaleRows(out), Groups(in)], the weight's dtype, positive and finite
  at::Tensor zero_points;  // int8, shaped like scales, signed like codes; undefined where symmetric
};

// How a grid is fitted to the weights that share it.
enum class Observer {
  kMinMax,
  kMse,  // grid_mse.h
};

// Smallest and largest value of the weights that share a scale, both taken with zero: fp32 on the CPU, shaped like
// scales.
struct Ranges {
  at::Tensor low, high;
};
Ranges RangesOf(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme);

// The grid that covers ranges, as compressed-tensors' min-max observer fits it:
//   symmetric:  scale = max|w| / ((2^b - 1) / 2)
//   asymmetric: scale = (max(w, 0) - min(w, 0)) / (2^b - 1), zero point = round(-2^(b-1) - min(w, 0) / scale), clamped
//   floats:     scale = max|w| / 448
// Scales are rounded to the weight's `dtype` first, so that everything after sees what a loader sees. Zeros alone get
// scale 1. On the CPU.
Grid GridOf(const Ranges& ranges, at::ScalarType dtype, const checkpoint::QuantizationScheme& scheme);

// The grid of a weight, on its device. `weight` [out, in] is finite, bf16, f16 or fp32; in is a multiple of the group
// size.
Grid FitGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme, Observer observer);
Grid FitMinMaxGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme);

// Nearest codes, [out, in]. Integers: int8, clamp(rint(w / s) + z). Floats: float8_e4m3fn, the nearest to
// clamp(w / s, -448, 448). In fp32, halves to even.
at::Tensor NearestCodes(const at::Tensor& weight, const Grid& grid, const checkpoint::QuantizationScheme& scheme);

// `values`, shaped like scales, for each weight: [out, in].
at::Tensor SpreadOverWeight(const at::Tensor& values, int64_t out, int64_t in,
                            const checkpoint::QuantizationScheme& scheme);

// Whether `weight` [out, in] of `module` can be quantized with `scheme`: dtype, shape and group size, and
// NON_FINITE_WEIGHTS for NaN or Inf.
absl::Status CheckWeight(std::string_view module, const at::Tensor& weight,
                         const checkpoint::QuantizationScheme& scheme);

}  // namespace calipress::method
