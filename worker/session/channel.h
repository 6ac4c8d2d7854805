#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "calipress/worker/v1/worker_service.pb.h"

namespace calipress::worker {

// The way to the coordinator. Thread-safe.
class WorkerChannel {
 public:
  virtual ~WorkerChannel() = default;
  // Blocks for at most `timeout_seconds`.
  virtual absl::StatusOr<worker::v1::SynchronizeResponse> Synchronize(const worker::v1::SynchronizeRequest& request,
                                                                      double timeout_seconds) = 0;
};

// Over gRPC, to "host:port".
std::unique_ptr<WorkerChannel> MakeGrpcChannel(const std::string& coordinator);

}  // namespace calipress::worker
