#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// SmoothQuant (Xiao et al., 2022, arXiv 2211.10438, eq. 4): s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) of the inputs
// of {q,k,v} and {gate,up}, folded into the norms before them. The step must be resolved; INVALID_RECIPE for options
// out of range.
absl::StatusOr<std::unique_ptr<Transform>> MakeSmoothQuant(const v1::Step& step);

}  // namespace calipress::method
