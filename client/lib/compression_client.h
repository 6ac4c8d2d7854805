#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/v1/compression_service.pb.h"
#include "compress/base/cancellation.h"

namespace calipress::client {

struct ClientOptions {
  // Deadline of one try of a call. Admission reads a model's headers from storage, which may take a while.
  double call_seconds = 60;
  // How long a call is tried again while the server cannot be reached or says UNAVAILABLE.
  double retry_seconds = 10;
  // The same for a watch, which should live through a restart of the coordinator; counted from the last answer.
  double watch_retry_seconds = 120;
  // A watch that hears nothing for so long (the server says "alive" more often) is opened again.
  double watch_silence_seconds = 90;
};

// A typed client of CompressionService. Thread-safe.
//
// Errors are the server's, with reason, class and violations (compress/base/error.h), or IsServerAway after all tries.
class CompressionClient {
 public:
  virtual ~CompressionClient() = default;

  // Sets request_id where it is empty, so that a try whose answer was lost does not make a second job.
  virtual absl::StatusOr<v1::CompressionJob> Create(v1::CreateCompressionJobRequest request) = 0;
  // Jobs by name ("compressionJobs/{id}").
  virtual absl::StatusOr<v1::CompressionJob> Get(const std::string& name) = 0;
  virtual absl::StatusOr<v1::ListCompressionJobsResponse> List(const v1::ListCompressionJobsRequest& request) = 0;
  virtual absl::StatusOr<v1::CompressionJob> Cancel(const std::string& name) = 0;
  virtual absl::Status Delete(const std::string& name) = 0;
  virtual absl::StatusOr<v1::ListWorkersResponse> ListWorkers() = 0;
  virtual absl::StatusOr<v1::ServerInfo> GetServerInfo() = 0;

  // Calls `on_event` for every event after `after_sequence`, in order and none twice, until the job has ended. Goes on
  // from the last sequence when the connection or the coordinator goes away. `cancellation` ends it with its status.
  virtual absl::Status Watch(const std::string& name, int64_t after_sequence,
                             const std::function<void(const v1::JobEvent&)>& on_event,
                             const CancellationToken& cancellation) = 0;

  // `address` is host:port. Connects when the first call is made.
  static std::unique_ptr<CompressionClient> Connect(const std::string& address, const ClientOptions& options = {});
};

// A random (version 4) UUID in its usual spelling.
std::string NewRequestId();

// The server could not be reached, did not answer in time, or is going away or without its database for now.
bool IsServerAway(const absl::Status& status);

// SUCCEEDED, FAILED and CANCELLED.
bool HasEnded(v1::CompressionJob::State state);

}  // namespace calipress::client
