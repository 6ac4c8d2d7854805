#pragma once

#include <string>

#include "calipress/v1/recipe.pb.h"

namespace calipress::report {

// A recipe as YAML, without the credentials in its URIs.
std::string RecipeText(const v1::Recipe& recipe);

}  // namespace calipress::report
