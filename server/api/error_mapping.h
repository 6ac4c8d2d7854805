#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace calipress::api {

// A status as it goes over the wire: the code, a message, and google.rpc.Status in the details with ErrorInfo
// (reason, domain "calipress.dev", metadata: class), BadRequest where fields are wrong, RetryInfo where another try may
// work. A defect is logged under an incident number that the client gets too.
//
// Trailing metadata has 8 KB on most clients, and a status beyond that arrives as nothing but "too large": messages
// and violations are cut to fit, and the last violation then says how many there are besides.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace calipress::api
