#pragma once

#include <string>
#include <vector>

#include "calipress/v1/recipe.pb.h"
#include "compress/arch/arch.h"

namespace calipress::recipe {

// What the checkpoint will not do in programs that load it, a sentence each and none twice: group sizes that do not
// fit tensor parallelism over 2, 4 or 8 devices, layouts that only some versions read or none does, zeros that save
// nothing. `recipe` is resolved and valid for the model.
std::vector<std::string> LoaderWarnings(const v1::Recipe& recipe, const arch::ArchSpec& spec);

}  // namespace calipress::recipe
