#include "server/api/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include "absl/strings/str_cat.h"
#include "calipress/v1/compression_service.grpc.pb.h"
#include "calipress/worker/v1/worker_service.grpc.pb.h"
#include "compress/base/error.h"
#include "grpc/health/v1/health.pb.h"
#include "server/api/rpc_metrics.h"

namespace calipress::api {
namespace {

// A worker tells of all runs of a study each time: 2000 of them, with the digests of 126 blocks each, are 20 MB. What
// the public methods take is bounded by request_checks.
constexpr int kLargestMessage = 32 << 20;
constexpr int kKeepaliveMilliseconds = 60'000;
// Clients behind balancers that drop idle connections ping this often at most.
constexpr int kLeastPingMilliseconds = 10'000;

// gRPC's plug-ins are for all servers of a process and for good; they must be there before the first is built.
void InstallPlugins(bool reflection) {
  grpc::EnableDefaultHealthCheckService(true);
  if (!reflection) return;
  static const bool installed = [] {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // Links the descriptor in.
    return grpc::health::v1::HealthCheckRequest::descriptor() != nullptr;
  }();
  static_cast<void>(installed);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              const std::vector<grpc::Service*>& services) {
  InstallPlugins(options.reflection);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(kLargestMessage);
  // Two coordinators on one port would share its calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kLeastPingMilliseconds);
  builder.experimental().SetInterceptorCreators(RpcMetrics());
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return EnvironmentError(reason::kInternal,
                            absl::StrCat("cannot listen on ", options.listen,
                                         "; is another coordinator running there, or is the address not this host's?"));
  }
  if (auto* health = server->GetHealthCheckService()) {
    health->SetServingStatus(v1::CompressionService::service_full_name(), true);
    health->SetServingStatus(worker::v1::WorkerService::service_full_name(), true);
  }
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(server), port));
}

GrpcServer::GrpcServer(std::unique_ptr<grpc::Server> server, int port) : server_(std::move(server)), port_(port) {}

GrpcServer::~GrpcServer() { Stop(std::chrono::milliseconds(0)); }

void GrpcServer::Stop(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
}

}  // namespace calipress::api
