#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace calipress::api {

struct GrpcServerOptions {
  // "host:port"; port 0 takes a free one.
  std::string listen = "127.0.0.1:7070";
  bool reflection = true;
};

// A listening gRPC server with what every service gets: the health service (overall and by service name), reflection,
// metrics, limits (messages of at most 4 MiB) and keepalive.
class GrpcServer {
 public:
  // `services` outlive the server. UNAVAILABLE where the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           const std::vector<grpc::Service*>& services);
  ~GrpcServer();

  int port() const { return port_; }

  // Says NOT_SERVING, takes no new calls, waits for those under way, and cuts off what is left after `grace`.
  void Stop(std::chrono::milliseconds grace);

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, int port);

  std::unique_ptr<grpc::Server> server_;
  const int port_;
};

}  // namespace calipress::api
