#pragma once

#include <ATen/core/Tensor.h>

#include "compress/checkpoint/compressed_tensors.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method::awq {

// The grid of each group of a row over the range [-c, c] of it that makes tr(d S d') least, d the row's error within
// the group and S the group's block of the second moment: c = (1 - i / 20) max|w|, i = 0..9, the larger of equals.
Grid FitClippedGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme,
                    const at::Tensor& second_moment);

}  // namespace calipress::method::awq
