#pragma once

#include <ATen/core/Tensor.h>

#include "compress/checkpoint/compressed_tensors.h"
#include "compress/method/method.h"
#include "compress/method/transform/fold.h"

namespace calipress::method::awq {

struct SearchOptions {
  checkpoint::QuantizationScheme scheme;
  bool duo = true;
  int grid = 20;
};

// The scales of least error among the identity and the grid's.
struct SearchResult {
  at::Tensor scales;  // fp32 [in], as asked for (see transform::EffectiveScales); undefined: the identity
  double exponent = 0.0;
  double error = 0.0, identity_error = 0.0;
};

// Means over the rows of the targeted consumers of |w| / max|w| of the row's group; double [in] on the CPU.
at::Tensor MeanWeights(const transform::InputGroup& group, const checkpoint::QuantizationScheme& scheme);

// fp32 [in] on the CPU: mean|x|^r, over mean_weights^(1 - r) where those are defined, normalized by the root of the
// largest times the smallest. Channels that saw no input have 1 and do not count. Means are double on the CPU.
at::Tensor CandidateScales(const at::Tensor& mean_inputs, const at::Tensor& mean_weights, double exponent);

// Tries the grid on the linears that are targeted. The error is the sum over them of tr(dW S dW'), dW = W - Q(W s) / s
// with what folding makes of W s and s, to the bit. The statistics have a second moment and absolute sums.
SearchResult SearchScales(const transform::InputGroup& group, const InputStatistics& statistics,
                          const SearchOptions& options);

}  // namespace calipress::method::awq
