#pragma once

#include <string>

#include "calipress/v1/recipe.pb.h"
#include "compress/recipe/method_checks.h"

namespace calipress::recipe {

// What the message alone shows of the parts of a recipe that are not its steps. `path` is the part's. Part of Validate.
void CheckCalibration(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse);
void CheckEvaluation(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse);
void CheckStudy(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse);

// One source of calibration.sources, or of a study's; `path` is its own.
void CheckSource(const v1::CalibrationSource& source, const std::string& path, const Refuse& refuse);
void CheckFilter(const v1::Filter& filter, const std::string& path, const Refuse& refuse);

// Shared by the checks: a URI that has to be there; one that names documents.
void CheckUri(const std::string& uri, const std::string& path, const Refuse& refuse);
void CheckTextUri(const std::string& uri, const std::string& path, const Refuse& refuse);

}  // namespace calipress::recipe
