#include "server/server.h"

#include <chrono>
#include <utility>

#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/metrics.h"
#include "compress/base/status_macros.h"
#include "server/assembly/checkpoint_publisher.h"
#include "server/fleet/worker_service_impl.h"
#include "server/store/job_store.h"

namespace calipress::server {
namespace {

// Calls take no longer than a look at storage.
constexpr std::chrono::milliseconds kStopGrace{5'000};

// Members in the order of need: each outlives those below it.
class WiredServer : public Server {
 public:
  WiredServer(std::unique_ptr<storage::ObjectStore> objects, std::unique_ptr<store::JobStore> jobs)
      : objects_(std::move(objects)), jobs_(std::move(jobs)), publisher_(objects_.get()) {}
  ~WiredServer() override { Stop(); }

  absl::Status Start(const ServerOptions& options) {
    CALIPRESS_ASSIGN_OR_RETURN(coordinator_, fleet::Coordinator::Create(options.coordinator, jobs_.get(), &publisher_));
    workers_ = std::make_unique<fleet::WorkerServiceImpl>(coordinator_.get());
    service_ = std::make_unique<api::CompressionService>(coordinator_.get(), objects_.get(), options.service);
    if (!options.metrics_address.empty()) {
      SetBuildInfo("", "");
      std::string error;
      metrics_ = MetricsServer::Start(options.metrics_address, &error);
      if (metrics_ == nullptr) return EnvironmentError(reason::kInternal, error);
    }
    // Last: whoever reaches the port finds everything in place.
    coordinator_->Start();
    CALIPRESS_ASSIGN_OR_RETURN(grpc_, api::GrpcServer::Start(options.grpc, {service_.get(), workers_.get()}));
    return absl::OkStatus();
  }

  int port() const override { return grpc_->port(); }
  int metrics_port() const override { return metrics_ == nullptr ? 0 : metrics_->port(); }

  void Stop() override {
    if (service_ != nullptr) service_->Stop();
    if (grpc_ != nullptr) grpc_->Stop(kStopGrace);
    if (coordinator_ != nullptr) coordinator_->Stop();
  }

 private:
  const std::unique_ptr<storage::ObjectStore> objects_;
  const std::unique_ptr<store::JobStore> jobs_;
  assembly::CheckpointPublisher publisher_;
  std::unique_ptr<fleet::Coordinator> coordinator_;
  std::unique_ptr<fleet::WorkerServiceImpl> workers_;
  std::unique_ptr<api::CompressionService> service_;
  std::unique_ptr<MetricsServer> metrics_;
  std::unique_ptr<api::GrpcServer> grpc_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  CALIPRESS_ASSIGN_OR_RETURN(auto jobs, store::OpenSqliteJobStore(options.database));
  auto server = std::make_unique<WiredServer>(storage::OpenObjectStore(options.storage), std::move(jobs));
  CALIPRESS_RETURN_IF_ERROR(server->Start(options));
  LogInfo("the coordinator listens", {{"port", server->port()}, {"database", options.database}});
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace calipress::server
