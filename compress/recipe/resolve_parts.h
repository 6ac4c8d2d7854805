#pragma once

#include <cstdint>

#include "calipress/v1/recipe.pb.h"

namespace calipress::recipe {

// The defaults of parts of a recipe. Part of Resolve. `default_length` is the smaller of 2048 and the model's
// positions.
void ResolveCalibration(int32_t default_length, v1::Calibration* calibration);
void ResolveEvaluation(int32_t default_length, v1::Evaluation* evaluation);

}  // namespace calipress::recipe
