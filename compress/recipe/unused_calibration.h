#pragma once

#include <optional>
#include <string>

#include "calipress/v1/recipe.pb.h"

namespace calipress::recipe {

// A sentence that names the calibration sources of a recipe in which nothing takes statistics, so that none is read;
// none where there are no sources, or something does. Of a study (whose methods decide one by one) always none.
std::optional<std::string> UnusedCalibration(const v1::Recipe& recipe);

}  // namespace calipress::recipe
