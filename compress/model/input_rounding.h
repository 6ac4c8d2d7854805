#pragma once

#include <ATen/core/Tensor.h>

#include "compress/model/block.h"

namespace calipress::model {

// `input` [..., in] rounded to the codes that a loader makes of it, and back, in its dtype: symmetric, 8 bits,
// operation by operation as compressed-tensors' forward. A scale is max|x| / 127.5 of a token (int), or max|x| / 448
// (E4M3).
at::Tensor RoundInput(const at::Tensor& input, const InputQuantization& quantization);

}  // namespace calipress::model
