#pragma once

#include <string>
#include <string_view>

#include "calipress/v1/recipe.pb.h"

namespace calipress::cli {

// A path or URI of the command line as the coordinator takes it: URIs stay, paths become absolute (relative to the
// current folder, which the coordinator does not share) and lose "." and "..".
std::string UriArgument(std::string_view text);

// The same for every URI of a recipe. Empty ones stay empty.
void MakeUrisAbsolute(v1::Recipe* recipe);

// "compressionJobs/x" of "x" or of itself.
std::string JobName(std::string_view text);

}  // namespace calipress::cli
