#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace calipress::calibration {

// The text that the JSON object `line` has under `field`, at its top level; the last one where it repeats. Errors say
// what is wrong with the line without its content, and are to be put behind the file's name and the line's number:
// not UTF-8, not JSON, not an object, no such field (with those that there are), not a string. Untrusted text.
absl::StatusOr<std::string> TextOfJsonLine(std::string_view line, const std::string& field);

// The same, and none where there is no such field.
absl::StatusOr<std::optional<std::string>> FindTextOfJsonLine(std::string_view line, const std::string& field);

// The list of messages under `field`, as JSON: one message at least, each an object with a "role" that is a string and
// a "content" that is a string, or a list of parts (or none, beside "tool_calls"). Errors as above; they name the
// message by its place. Keys stay in their order.
absl::StatusOr<std::string> MessagesOfJsonLine(std::string_view line, const std::string& field);

}  // namespace calipress::calibration
