#pragma once

#include <string>

#include <google/protobuf/message.h>

#include "absl/status/statusor.h"

namespace calipress::assembly {

// A message as JSON for files: with line breaks, in the proto's field names. `zeros`: fields whose value is 0, false or
// empty are written too.
absl::StatusOr<std::string> MessageJson(const google::protobuf::Message& message, bool zeros = false);

}  // namespace calipress::assembly
