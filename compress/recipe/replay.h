#pragma once

#include <optional>
#include <string>

#include "calipress/v1/recipe.pb.h"
#include "calipress/v1/report.pb.h"

namespace calipress::recipe {

// The recipe that calibrates with the ids that a job left at `ids_uri`: a token_ids source for the rows of each part
// that its report tells of, with the part's domain, instead of the sources that gave them, and no draw. `recipe` is
// resolved. None where the job made no ids.
std::optional<v1::Recipe> ReplayRecipe(const v1::Recipe& recipe, const v1::CalibrationReport& made,
                                       const std::string& ids_uri);

}  // namespace calipress::recipe
