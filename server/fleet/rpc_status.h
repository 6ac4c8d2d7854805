#pragma once

#include <string>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace calipress::fleet {

// The domain of every ErrorInfo.
inline constexpr char kErrorDomain[] = "calipress.dev";

// google.rpc.Status with ErrorInfo (reason, domain, metadata["class"]) and, where there are field violations,
// BadRequest. For job.error, and as the details of RPC errors.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// The way back, for outcomes that workers report. A status without ErrorInfo gets a class guessed from its code; a
// reason that is no ErrorReason becomes INTERNAL; the message is cut to `kMessageLimit` bytes.
absl::Status FromRpcStatus(const google::rpc::Status& status);

inline constexpr size_t kMessageLimit = 4000;

}  // namespace calipress::fleet
