#include "server/config.h"

#include "compress/base/error.h"
#include "compress/base/settings.h"
#include "compress/base/status_macros.h"

namespace calipress::server {
namespace {

constexpr std::string_view kExample =
    R"(# host:port of the API and of the workers' calls. Put a TLS proxy before it where the network is not trusted.
listen: 127.0.0.1:7070
# SQLite file; made if missing.
database: calipress.db
# host:port of /metrics; "" for none.
metrics_address: ""
# trace, debug, info, warning, error or off.
log_level: info
# "" for standard error.
log_file: ""
# A worker that is silent for so long has lost its work.
lease_seconds: 15
# After a worker is lost: how long a job waits for as many workers as it had before it goes on with those left.
recovery_grace_seconds: 5
# A job fails once so many attempts ended with a lost worker, or with a failure.
max_attempts_lost: 10
max_attempts_failed: 3
# Jobs that have not ended; one more is refused.
max_queued_jobs: 1000
# For s3:// where the environment (AWS_ENDPOINT_URL_S3, AWS_REGION) does not say it.
storage:
  s3_endpoint: ""
  s3_region: ""
# Lets tools such as grpcurl ask for the schema.
reflection: true
)";

Settings TopLevel(Config* config) {
  ServerOptions& server = config->server;
  scheduler::Options& scheduler = server.coordinator.scheduler;
  Settings storage;
  storage.Text("s3_endpoint", &server.storage.s3_endpoint);
  storage.Text("s3_region", &server.storage.s3_region);
  Settings settings;
  settings.Address("listen", &server.grpc.listen, /*may_be_empty=*/false);
  settings.Text("database", &server.database);
  settings.Address("metrics_address", &server.metrics_address, /*may_be_empty=*/true);
  settings.Choice("log_level", &config->log_level, {"trace", "debug", "info", "warning", "error", "off"});
  settings.Text("log_file", &config->log_file);
  settings.Number("lease_seconds", &scheduler.lease_seconds, 1.0, 3600.0);
  settings.Number("recovery_grace_seconds", &scheduler.replan_grace_seconds, 0.0, 3600.0);
  settings.Number("max_attempts_lost", &scheduler.max_attempts_lost, 1, 1000);
  settings.Number("max_attempts_failed", &scheduler.max_attempts_failed, 1, 1000);
  settings.Number("max_queued_jobs", &server.coordinator.max_unfinished_jobs, 1, 1'000'000);
  settings.Section("storage", std::move(storage));
  settings.Flag("reflection", &server.grpc.reflection);
  return settings;
}

}  // namespace

absl::StatusOr<Config> ParseConfig(std::string_view yaml) {
  Config config;
  CALIPRESS_RETURN_IF_ERROR(TopLevel(&config).Read(yaml));
  if (config.server.database.empty()) {
    return UserError(reason::kInvalidRequest, "database must name a file (or :memory:, which forgets every job)");
  }
  return config;
}

std::string_view ConfigExample() { return kExample; }

}  // namespace calipress::server
