#pragma once

#include <functional>
#include <string>

#include "calipress/v1/recipe.pb.h"

namespace calipress::recipe {

// Takes a violation: the field's path and what is wrong with it.
using Refuse = std::function<void(std::string field, std::string description)>;

// What the message alone shows of one method's options. `step` is one of the recipe's, `path` that of its options
// ("recipe.steps[0].wanda"). Part of Validate.
void CheckMagnitude(const v1::Recipe& recipe, const v1::Step& step, const std::string& path, const Refuse& refuse);
void CheckWanda(const v1::Recipe& recipe, const v1::Step& step, const std::string& path, const Refuse& refuse);
void CheckSparseGpt(const v1::Recipe& recipe, const v1::Step& step, const std::string& path, const Refuse& refuse);
void CheckDsnot(const v1::Recipe& recipe, const v1::Step& step, const std::string& path, const Refuse& refuse);

// What the output's format holds of what the steps make: one layout for the whole checkpoint, as loaders choose it by
// config.json. `path` is the recipe's own.
void CheckOutputFormat(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse);

}  // namespace calipress::recipe
