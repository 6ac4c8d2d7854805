#pragma once

#include <string_view>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::method {

// Where the codes of a weight stand for values: (code - zero point) * scale.
struct Grid {
  at::Tensor scales;       // [out, groups], the weight's dtype, positive and finite
  at::Tensor zero_points;  // int8 [out, groups], like codes; undefined where symmetric
};

// The grid that covers each group's range and zero, as compressed-tensors' min-max observer fits it:
//   symmetric:  scale = max|w| / ((2^b - 1) / 2)
//   asymmetric: scale = (max(w, 0) - min(w, 0)) / (2^b - 1), zero point = round(-2^(b-1) - min(w, 0) / scale), clamped
// Scales are rounded to the weight's dtype first, so that everything after sees what a loader sees. A group of zeros
// gets scale 1. `weight` [out, in] is finite, bf16, f16 or fp32; in is a multiple of the group size.
Grid FitMinMaxGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme);

// Nearest codes: clamp(rint(w / s) + z), in fp32, halves to even. int8 [out, in].
at::Tensor NearestCodes(const at::Tensor& weight, const Grid& grid, const checkpoint::QuantizationScheme& scheme);

// Whether `weight` [out, in] of `module` can be quantized with `scheme`: dtype, shape and group size, and
// NON_FINITE_WEIGHTS for NaN or Inf.
absl::Status CheckWeight(std::string_view module, const at::Tensor& weight,
                         const checkpoint::QuantizationScheme& scheme);

}  // namespace calipress::method
