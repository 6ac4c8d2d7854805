#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"
#include "server/api/compression_service.h"
#include "server/api/grpc_server.h"
#include "server/fleet/coordinator.h"

namespace calipress::server {

struct ServerOptions {
  api::GrpcServerOptions grpc;
  api::ServiceOptions service;
  fleet::CoordinatorOptions coordinator;
  storage::StorageOptions storage;
  // Path of the SQLite file; ":memory:" forgets everything with the process.
  std::string database = "calipress.db";
  // "host:port" for /metrics; empty: none.
  std::string metrics_address;
};

// A whole coordinator: store, scheduler, publisher, services, metrics. What calipress-coordinator runs, and what
// `calipress run` embeds.
class Server {
 public:
  // Serving when it returns; jobs that the store has under way go on.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);

  virtual ~Server() = default;
  // The port that is listened on.
  virtual int port() const = 0;
  // Of /metrics; 0: none.
  virtual int metrics_port() const = 0;
  // Ends streams and calls, waits for the publication under way. Jobs stay as they are in the store. The destructor
  // does it too.
  virtual void Stop() = 0;
};

}  // namespace calipress::server
