#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// Wanda (Sun et al., 2023, arXiv 2306.11695): removes the smallest |w_ij| * sqrt(sum x_j^2) of each row; weights that
// stay are not changed. It gathers no second moments, so relative_error is the diagonal's part alone,
// sum(dw^2 x^2) / sum(w^2 x^2). The step must be resolved; INVALID_RECIPE for options out of range.
absl::StatusOr<std::unique_ptr<Method>> MakeWanda(const v1::Step& step);

}  // namespace calipress::method
