#pragma once

#include <ATen/core/Tensor.h>

namespace calipress::model {

// Rotates `heads` [batch, length, heads, head_dim], contiguous and the caller's own, in place: x * cos + half(x) * sin
// with half(x) = (-x2, x1), where x1 and x2 are the halves of a head. `cos` and `sin` are [length, head_dim] in fp32;
// they, both products and the sum are rounded to the tensor's dtype, as in transformers.
void ApplyRotary(at::Tensor& heads, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace calipress::model
