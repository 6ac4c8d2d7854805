#pragma once

#include <string>

#include "calipress/v1/recipe.pb.h"

namespace calipress::recipe {

// A recipe as YAML in the proto's field names: what recipe::ParseYaml reads back into the same message. Fields that are
// not set are left out.
std::string RecipeYaml(const v1::Recipe& recipe);

}  // namespace calipress::recipe
