#pragma once

#include <string_view>

namespace calipress {

inline constexpr std::string_view kVersion = "0.1.0";

// The git commit that was built, or "unknown".
std::string_view BuildRevision();

}  // namespace calipress
