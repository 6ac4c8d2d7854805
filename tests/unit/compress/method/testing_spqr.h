#pragma once

#include <ATen/core/Tensor.h>

#include "compress/method/method.h"
#include "compress/method/quantize/spqr/sweep.h"

namespace calipress::method {

// SpQR as its paper and reference code have it, in double, column by column, with a refit for every weight that is left
// out; groups of equal values as compress/method/quantize/spqr/group_grids.h has them.
struct ReferenceSpqrResult {
  at::Tensor codes;        // uint8 [out, in], columns in processing order; 0 for outliers
  at::Tensor outliers;     // bool [out, in], columns of the weight
  at::Tensor dequantized;  // [out, in] double
  double loss = 0.0;       // sum of e^2 over columns that are not dead
};
ReferenceSpqrResult ReferenceSpqr(const at::Tensor& weight, const at::Tensor& second_moment,
                                  const spqr::SweepOptions& options, bool act_order, double damping);

// Which weights are outliers, bool [out, in].
at::Tensor OutlierMask(const SpqrWeight& weight);

v1::Step SpqrStep(int bits, double outlier_threshold);

}  // namespace calipress::method
