#pragma once

#include <ATen/core/Tensor.h>

namespace calipress::model {

// Root-mean-square norm over the last dimension as transformers computes it: the input in fp32 times
// rsqrt(mean(x^2) + eps), rounded to the input's dtype, times `weight` [last dimension] in that dtype. On CPUs one
// pass over memory, bit for bit what transformers' chain of operations gives.
at::Tensor RmsNorm(const at::Tensor& input, const at::Tensor& weight, double eps);

// The same in place, for a contiguous tensor that the caller owns.
void RmsNormInPlace(at::Tensor& input, const at::Tensor& weight, double eps);

}  // namespace calipress::model
