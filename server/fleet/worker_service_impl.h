#pragma once

#include <grpcpp/grpcpp.h>

#include "calipress/worker/v1/worker_service.grpc.pb.h"
#include "server/fleet/coordinator.h"

namespace calipress::fleet {

// calipress.worker.v1.WorkerService over a coordinator, which outlives it.
class WorkerServiceImpl : public worker::v1::WorkerService::CallbackService {
 public:
  explicit WorkerServiceImpl(Coordinator* coordinator) : coordinator_(coordinator) {}

  grpc::ServerUnaryReactor* Synchronize(grpc::CallbackServerContext* context,
                                        const worker::v1::SynchronizeRequest* request,
                                        worker::v1::SynchronizeResponse* response) override;

 private:
  Coordinator* const coordinator_;
};

}  // namespace calipress::fleet
