#include "worker/session/health.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

namespace calipress::worker {
namespace {

class GrpcHealth : public HealthServer {
 public:
  bool Listen(const std::string& address) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    // Two workers on one port would answer for each other.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // gRPC builds no server that has the health service alone.
    builder.RegisterCallbackGenericService(&everything_else_);
    server_ = builder.BuildAndStart();
    return server_ && port != 0;
  }
  ~GrpcHealth() override {
    if (server_) server_->Shutdown();
  }

 private:
  grpc::CallbackGenericService everything_else_;  // UNIMPLEMENTED
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

std::unique_ptr<HealthServer> HealthServer::Start(const std::string& address) {
  auto health = std::make_unique<GrpcHealth>();
  if (!health->Listen(address)) return nullptr;
  return health;
}

}  // namespace calipress::worker
