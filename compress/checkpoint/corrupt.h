#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace calipress::checkpoint {

// SOURCE_MODEL_CORRUPT, the user's: another try reads the same bytes.
absl::Status Corrupt(std::string_view message);

// Text from a file, fit for a message: ASCII, at most 200 characters.
std::string Printable(std::string_view text);

}  // namespace calipress::checkpoint
