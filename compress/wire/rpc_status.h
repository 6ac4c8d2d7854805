#pragma once

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace calipress {

// The domain of every ErrorInfo.
inline constexpr char kErrorDomain[] = "calipress.dev";

// google.rpc.Status with ErrorInfo (reason, domain, metadata["class"]) and, where there are field violations,
// BadRequest. OK has neither message nor details.
google::rpc::Status ToRpcStatus(const absl::Status& status);

}  // namespace calipress
