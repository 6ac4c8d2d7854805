#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method {

// Round to nearest. The step must be resolved; INVALID_RECIPE for options out of range.
absl::StatusOr<std::unique_ptr<Method>> MakeRtn(const v1::Step& step);

// The computation of it, also GPTQ's fallback: weights are checked already. Relative errors are 0 without second
// moments. Static activations need absolute_max.
std::vector<LinearResult> RoundToNearest(const std::vector<LinearTask>& tasks,
                                         const checkpoint::QuantizationScheme& scheme, Observer observer,
                                         const InputStatistics* statistics);

}  // namespace calipress::method
