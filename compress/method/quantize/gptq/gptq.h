#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// GPTQ (Frantar et al., 2022, arXiv 2210.17323) with grids fixed before the sweep. The step must be resolved;
// INVALID_RECIPE for options out of range. README.md has the equations.
absl::StatusOr<std::unique_ptr<Method>> MakeGptq(const v1::Step& step);

}  // namespace calipress::method
