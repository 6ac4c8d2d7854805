#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/method/method.h"

namespace calipress::method::owl {

// Linears that share an input, and what is known of it: `square_sum` is needed.
struct InputGroup {
  std::vector<LinearTask> tasks;
  InputStatistics statistics;
};

// The share of a block's weights whose metric |w_ij| * sqrt(sum x_j^2) is above `threshold` times the metric's mean
// over all of them (OWL, eq. 1: the layer outlier distribution). Does not depend on the number of threads.
// NON_FINITE_WEIGHTS and NON_FINITE_ACTIVATIONS name the module.
absl::StatusOr<double> OutlierShare(const std::vector<InputGroup>& block, double threshold);

}  // namespace calipress::method::owl
