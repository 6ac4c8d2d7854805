#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace calipress::tensor {

// tr(W S W') of each weight W [rows, n] (any floating dtype, contiguous), S [n, n] fp32 and symmetric; all on one
// device. On processors with AVX512_BF16 both factors are rounded to bf16 and products summed in fp32, which is right
// to about 0.1 % and twice as fast; elsewhere it is fp32 throughout. For reports, not for decisions.
std::vector<double> QuadraticForms(const std::vector<at::Tensor>& weights, const at::Tensor& matrix);

// ||before - after||^2 / ||before||^2 of matrices of any floating dtype, and ||before||^2; 0 where that is.
struct WeightChange {
  double ratio = 0.0;
  double total = 0.0;
};
WeightChange RelativeChange(const at::Tensor& before, const at::Tensor& after);

}  // namespace calipress::tensor
