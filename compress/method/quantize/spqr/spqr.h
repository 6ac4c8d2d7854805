#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// SpQR (Dettmers et al., 2023, arXiv 2306.03078). The step must be resolved; INVALID_RECIPE for options out of range.
// README.md has the equations.
absl::StatusOr<std::unique_ptr<Method>> MakeSpqr(const v1::Step& step);

}  // namespace calipress::method
