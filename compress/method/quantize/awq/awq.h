#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

// AWQ (Lin et al., 2023, arXiv 2306.00978), both halves of it. The step must be resolved; INVALID_RECIPE for options
// out of range.
//
// Scales of the input channels, searched and folded into what comes before the input.
absl::StatusOr<std::unique_ptr<Transform>> MakeAwqTransform(const v1::Step& step);
// Round to nearest, on ranges that are clipped where that lessens the error (not of q_proj and k_proj).
absl::StatusOr<std::unique_ptr<Method>> MakeAwq(const v1::Step& step);

}  // namespace calipress::method
