#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// DSnoT (methods.md 7.5): an initial mask, then swaps that bring each row's expected output error towards 0. The step
// must be resolved; INVALID_RECIPE for options out of range, or at once for a pattern that does not divide a weight.
absl::StatusOr<std::unique_ptr<Method>> MakeDsnot(const v1::Step& step);

}  // namespace calipress::method
