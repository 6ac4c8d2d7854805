#pragma once

#include <string_view>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "compress/method/method.h"

namespace calipress::method {

// NON_FINITE_ACTIVATIONS where inputs whose scale is static hold NaN or Inf; `statistics` may be null where it is not.
absl::Status CheckInputs(std::string_view module, const InputStatistics* statistics,
                         const checkpoint::QuantizationScheme& scheme);

// The scale of static activations: max|x| over the calibration tokens in the grid of the weights' numbers, rounded to
// the checkpoint's `dtype` (loaders may cast it). fp32 [1] on the CPU; undefined where activations are not static. One
// input has one scale, hence the linears that loaders fuse.
at::Tensor InputScaleOf(const InputStatistics* statistics, const checkpoint::QuantizationScheme& scheme,
                        at::ScalarType dtype);

}  // namespace calipress::method
