#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// Removes the smallest weights of each matrix, or of each run of M columns. relative_error is sum(dw^2) / sum(w^2): the
// exact one for inputs of equal size that do not correlate. The step must be resolved; INVALID_RECIPE for options out
// of range.
absl::StatusOr<std::unique_ptr<Method>> MakeMagnitude(const v1::Step& step);

}  // namespace calipress::method
