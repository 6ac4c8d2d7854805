#pragma once

#include <ATen/core/Tensor.h>

#include "compress/method/quantize/grid.h"

namespace calipress::method {

// Of the ranges p * [low, high], p = 1, 0.99, ..., 0.21, the one whose grid has the least sum |w' - w|^2.4 over the
// weights that share it (the search of GPTQ's reference quantizer, Frantar et al. 2022; the widest of equal ones). w'
// is what a loader makes of the nearest codes. Never worse than the min-max grid in that sum.
Grid FitMseGrid(const at::Tensor& weight, const checkpoint::QuantizationScheme& scheme);

}  // namespace calipress::method
