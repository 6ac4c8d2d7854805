#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace arrow {
class Status;
}

namespace calipress::storage {

// A failure of an Arrow file system as one of ours. `action` is a verb phrase ("read", "create"); `uri` may carry
// credentials, the message will not.
absl::Status FromArrow(const arrow::Status& status, std::string_view action, std::string_view uri);

// The same for a system call's errno.
absl::Status FromErrno(int error, std::string_view action, std::string_view uri);

}  // namespace calipress::storage
