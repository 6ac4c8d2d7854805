#include "server/fleet/worker_service_impl.h"

#include <utility>

#include "server/fleet/rpc_status.h"

namespace calipress::fleet {

grpc::ServerUnaryReactor* WorkerServiceImpl::Synchronize(grpc::CallbackServerContext* context,
                                                         const worker::v1::SynchronizeRequest* request,
                                                         worker::v1::SynchronizeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  auto answer = coordinator_->Synchronize(*request);
  if (answer.ok()) {
    *response = *std::move(answer);
    reactor->Finish(grpc::Status::OK);
  } else {
    const google::rpc::Status status = ToRpcStatus(answer.status());
    reactor->Finish(
        grpc::Status(static_cast<grpc::StatusCode>(status.code()), status.message(), status.SerializeAsString()));
  }
  return reactor;
}

}  // namespace calipress::fleet
