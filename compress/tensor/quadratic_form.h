#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace calipress::tensor {

// tr(W S W') of each weight W [rows, n] (any floating dtype, contiguous), S [n, n] fp32 and symmetric; all on one
// device. On processors with AVX512_BF16 both factors are rounded to bf16 and products summed in fp32, which is right
// to about 0.1 % and twice as fast; elsewhere it is fp32 throughout. For reports, not for decisions.
std::vector<double> QuadraticForms(const std::vector<at::Tensor>& weights, const at::Tensor& matrix);

}  // namespace calipress::tensor
