#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "compress/collective/group.h"
#include "compress/method/method.h"

namespace calipress::engine {

// Makes the statistics of each rank's share of the sequences those of all, the same bits on every rank: sums and maxima
// over the ranks, samples one after the other in rank order. `sample_options`: dtype and device of the activations, for
// a rank without any. Every rank asks for the same statistics, in the same order.
absl::Status ShareStatistics(collective::Group& group, const method::StatisticsNeeds& needs, int64_t features,
                             const at::TensorOptions& sample_options, method::InputStatistics& statistics);

}  // namespace calipress::engine
