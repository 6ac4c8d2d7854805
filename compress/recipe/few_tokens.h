#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "calipress/v1/recipe.pb.h"
#include "compress/arch/arch.h"

namespace calipress::recipe {

// A sentence where a step solves with a Hessian that so many calibration tokens leave singular: fewer than a linear has
// inputs. `recipe` is resolved and valid for the model.
std::optional<std::string> FewTokensWarning(const v1::Recipe& recipe, const arch::ArchSpec& spec, int64_t tokens);

}  // namespace calipress::recipe
