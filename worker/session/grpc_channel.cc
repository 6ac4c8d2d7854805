#include <grpcpp/grpcpp.h>

#include <chrono>

#include "calipress/worker/v1/worker_service.grpc.pb.h"
#include "worker/session/channel.h"

namespace calipress::worker {
namespace {

constexpr int kLargestAssignment = 32 << 20;

class GrpcChannel : public WorkerChannel {
 public:
  explicit GrpcChannel(const std::string& coordinator) {
    grpc::ChannelArguments arguments;
    // A coordinator that restarts is back within seconds; the default would wait for up to two minutes.
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    // An assignment names all runs of a study that are done.
    arguments.SetMaxReceiveMessageSize(kLargestAssignment);
    stub_ = worker::v1::WorkerService::NewStub(
        grpc::CreateCustomChannel(coordinator, grpc::InsecureChannelCredentials(), arguments));
  }

  absl::StatusOr<worker::v1::SynchronizeResponse> Synchronize(const worker::v1::SynchronizeRequest& request,
                                                              double timeout_seconds) override {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds * 1000)));
    worker::v1::SynchronizeResponse response;
    const grpc::Status status = stub_->Synchronize(&context, request, &response);
    if (!status.ok()) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
    }
    return response;
  }

 private:
  std::unique_ptr<worker::v1::WorkerService::Stub> stub_;
};

}  // namespace

std::unique_ptr<WorkerChannel> MakeGrpcChannel(const std::string& coordinator) {
  return std::make_unique<GrpcChannel>(coordinator);
}

}  // namespace calipress::worker
