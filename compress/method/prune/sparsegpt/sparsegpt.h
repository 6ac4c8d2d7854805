#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// SparseGPT (Frantar and Alistarh, 2023, arXiv 2301.00774): removes the weights that cost least, panel by panel or N of
// M, and makes up for them in the columns that come after; `quantize` rounds what is kept to a grid in the same sweep.
// The step must be resolved; INVALID_RECIPE for options out of range.
absl::StatusOr<std::unique_ptr<Method>> MakeSparseGpt(const v1::Step& step);

}  // namespace calipress::method
