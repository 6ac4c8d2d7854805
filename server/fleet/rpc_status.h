#pragma once

#include "absl/status/status.h"
#include "compress/wire/rpc_status.h"
#include "google/rpc/status.pb.h"

namespace calipress::fleet {

// The way back from ToRpcStatus, for outcomes that workers report. A status without ErrorInfo gets a class guessed from
// its code; a reason that is no ErrorReason becomes INTERNAL; the message is cut to `kMessageLimit` bytes.
absl::Status FromRpcStatus(const google::rpc::Status& status);

inline constexpr size_t kMessageLimit = 4000;

}  // namespace calipress::fleet
