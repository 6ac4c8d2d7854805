#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace calipress::tensor {

// Which sums over tokens are wanted, and where they go: fp32 [features], added to (maxima: taken with). Undefined: not
// wanted.
struct ColumnSums {
  at::Tensor square_sum;    // sum x^2
  at::Tensor absolute_sum;  // sum |x|
  at::Tensor absolute_max;  // max |x|
  at::Tensor sum;           // sum x
  at::Tensor variance_sum;  // sum over sequences of length * (unbiased variance within the sequence)
};

// One pass over x [sequences, length, features], contiguous, bf16, f16 or fp32. Sums run in fp32 within a sequence and
// are added once per sequence, in order: results depend on neither threads nor micro-batches.
void AddColumnSums(const at::Tensor& x, ColumnSums& sums);

}  // namespace calipress::tensor
