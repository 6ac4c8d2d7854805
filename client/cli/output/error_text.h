#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace calipress::cli {

// An error for people: what is wrong (every violation on a line), the reason, and what to do. Ends with a line end.
std::string ErrorText(const absl::Status& status);

// What a user can do about a reason of ErrorReason; "" where the message says it all.
std::string_view Advice(std::string_view reason);

}  // namespace calipress::cli
