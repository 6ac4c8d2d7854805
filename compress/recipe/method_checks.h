#pragma once

#include <string>
#include <vector>

#include "calipress/v1/recipe.pb.h"
#include "compress/base/error.h"

namespace calipress::recipe {

// What the options of one method show alone; one function and one file, check_<method>.cc, per method. Violations are
// appended with fields below `path` ("recipe.steps[0].dsnot").
void CheckDsnot(const std::string& path, const v1::Dsnot& dsnot, std::vector<FieldViolation>* violations);

}  // namespace calipress::recipe
