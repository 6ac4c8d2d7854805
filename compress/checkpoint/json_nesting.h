#pragma once

#include <string_view>

namespace calipress::checkpoint {

// Whether brackets nest deeper than any honest model file's do (64). The JSON library copies, compares and prints by
// recursion, so text from outside is asked this before it is parsed into a tree.
bool NestsTooDeep(std::string_view json);

}  // namespace calipress::checkpoint
