#pragma once

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace calipress::client {

// google.rpc.Status (of a job's `error`, or of an RPC's details) as ours: code, message, reason and class of ErrorInfo,
// violations of BadRequest. Details that are not there leave the class to be guessed from the code. A code that is no
// error gives OK.
absl::Status FromRpcStatus(const google::rpc::Status& status);

}  // namespace calipress::client
