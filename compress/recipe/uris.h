#pragma once

#include <functional>
#include <string>

#include "calipress/v1/recipe.pb.h"

namespace calipress::recipe {

// Every URI of a recipe that is set, wherever it is (fields named "uri", and evaluation.reference), with its field's
// path from "recipe" on. `visit` may change it.
void ForEachUri(v1::Recipe* recipe, const std::function<void(const std::string& field, std::string* uri)>& visit);

}  // namespace calipress::recipe
