#pragma once

#include "calipress/v1/calibration.pb.h"

namespace calipress::recipe {

// Defaults of calibration. `default_length` is the smaller of 2048 and the model's positions. Part of Resolve.
void ResolveCalibration(int32_t default_length, v1::Calibration* calibration);

}  // namespace calipress::recipe
