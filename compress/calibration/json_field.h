#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace calipress::calibration {

// The text that the JSON object `line` has under `field`, at its top level; the last one where it repeats. Errors say
// what is wrong with the line without its content, and are to be put behind the file's name and the line's number:
// not UTF-8, not JSON, not an object, no such field (with those that there are), not a string. Untrusted text.
absl::StatusOr<std::string> TextOfJsonLine(std::string_view line, const std::string& field);

}  // namespace calipress::calibration
