#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include <grpcpp/support/server_interceptor.h>

namespace calipress::api {

// Counts every RPC of every service of a server:
//   calipress_grpc_requests_total{service, method, code}
//   calipress_grpc_request_duration_seconds{service, method}   (not for streams: theirs is how long someone watched)
//   calipress_grpc_requests_in_flight
// Only methods that the server has become label values; a client that went away counts as CANCELLED.
std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> RpcMetrics();

// "NOT_FOUND".
std::string_view CodeName(grpc::StatusCode code);

}  // namespace calipress::api
