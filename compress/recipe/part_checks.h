#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "calipress/v1/recipe.pb.h"
#include "compress/base/error.h"
#include "compress/recipe/method_checks.h"

namespace calipress::recipe {

// What the message alone shows of the parts of a recipe that are not its steps. `path` is the part's. Part of Validate.
void CheckCalibration(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse);
void CheckEvaluation(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse);
void CheckStudy(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse);

// Runs a check over the methods and sources of a study as if each were a recipe's own, and gives what it finds under
// their places in the study.
using RecipeCheck = std::function<std::vector<FieldViolation>(const v1::Recipe& recipe)>;
std::vector<FieldViolation> OfStudyParts(const v1::Recipe& recipe, const std::string& prefix, const RecipeCheck& check);
inline constexpr int kDefaultDraws = 5;

// One source of calibration.sources, or of a study's; `path` is its own.
void CheckSource(const v1::CalibrationSource& source, const std::string& path, const Refuse& refuse);
void CheckMixing(const v1::Calibration& calibration, const std::string& path, const Refuse& refuse);
inline constexpr char kDefaultDomain[] = "general";
void CheckFilter(const v1::Filter& filter, const std::string& path, const Refuse& refuse);

// Sources that the model writes; `path` is the source's own. Then what shows against the model, of a resolved one.
void CheckGenerated(const v1::CalibrationSource& source, const std::string& path, const Refuse& refuse);
void CheckGeneratedForModel(const v1::Recipe& recipe, int64_t max_positions, const std::string& path,
                            const Refuse& refuse);

// The defaults of such a source, in a calibration whose sequence_length is filled in.
void ResolveGenerated(int32_t sequence_length, v1::CalibrationSource* source);

// Shared by the checks: a URI that has to be there; one that names documents.
void CheckUri(const std::string& uri, const std::string& path, const Refuse& refuse);
void CheckTextUri(const std::string& uri, const std::string& path, const Refuse& refuse);

}  // namespace calipress::recipe
