#pragma once

#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace calipress::tensor {

// Runs `body` and turns what torch and c10d throw into a status: out of memory -> OUT_OF_MEMORY (environment), a lost
// peer -> PEER_LOST (environment), anything else -> INTERNAL (defect). Called at stage boundaries and nowhere else.
absl::Status Guard(std::string_view what, const std::function<absl::Status()>& body);

}  // namespace calipress::tensor
