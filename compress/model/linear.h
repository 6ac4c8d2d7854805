#pragma once

#include <ATen/core/Tensor.h>

namespace calipress::model {

// input [..., in] times weight' [out, in] plus bias [out] (undefined: none), in the input's dtype: products summed in
// fp32 and rounded once.
at::Tensor Linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias);

// The same with strips of the weight widened to fp32 and multiplied there. For processors without products of the dtype
// (bf16 or f16 on AVX2), where ATen falls back to a loop some ten times slower than its fp32 product.
at::Tensor LinearInFloat(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias);

// Whether products of this dtype on this device are better made in fp32.
bool BetterInFloat(const at::Tensor& tensor);

}  // namespace calipress::model
