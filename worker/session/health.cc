#include "worker/session/health.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

namespace calipress::worker {
namespace {

class GrpcHealth : public HealthServer {
 public:
  explicit GrpcHealth(std::unique_ptr<grpc::Server> server) : server_(std::move(server)) {}
  ~GrpcHealth() override { server_->Shutdown(); }

 private:
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

std::unique_ptr<HealthServer> HealthServer::Start(const std::string& address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  auto server = builder.BuildAndStart();
  if (!server || port == 0) return nullptr;
  return std::make_unique<GrpcHealth>(std::move(server));
}

}  // namespace calipress::worker
