#include "worker/config.h"

#include "compress/base/settings.h"
#include "compress/base/status_macros.h"

namespace calipress::worker {
namespace {

constexpr std::string_view kExample = R"(# host:port of the coordinator.
coordinator: 127.0.0.1:7070
# The worker's name, the same after a restart; "" for host name and process id.
id: ""
# cpu or cuda.
device: cpu
# Threads that compute; 0: one per CPU. Results depend on it to the last bit.
threads: 0
# The address that other workers reach this one at.
host: 127.0.0.1
# Port of the meeting point of gangs; 0: any that is free.
rendezvous_port: 0
# host:port of /metrics, and of the gRPC health service; "" for none.
metrics_address: ""
health_address: ""
# trace, debug, info, warning, error or off.
log_level: info
# "" for standard error.
log_file: ""
# What a stage may use to keep blocks and activations; 0: a third of what the device has.
memory_limit_bytes: 0
# After SIGTERM: how long the stage under way may go on.
drain_seconds: 30
# For s3:// where the environment (AWS_ENDPOINT_URL_S3, AWS_REGION) does not say it.
storage:
  s3_endpoint: ""
  s3_region: ""
)";

}  // namespace

absl::StatusOr<Config> ParseConfig(std::string_view yaml) {
  Config config;
  Settings storage;
  storage.Text("s3_endpoint", &config.storage.s3_endpoint);
  storage.Text("s3_region", &config.storage.s3_region);
  Settings settings;
  settings.Address("coordinator", &config.coordinator, /*may_be_empty=*/false);
  settings.Text("id", &config.id);
  settings.Choice("device", &config.device, {"cpu", "cuda"});
  settings.Number("threads", &config.threads, 0, 4096);
  settings.Text("host", &config.host);
  settings.Number("rendezvous_port", &config.rendezvous_port, 0, 65535);
  settings.Address("metrics_address", &config.metrics_address, /*may_be_empty=*/true);
  settings.Address("health_address", &config.health_address, /*may_be_empty=*/true);
  settings.Choice("log_level", &config.log_level, {"trace", "debug", "info", "warning", "error", "off"});
  settings.Text("log_file", &config.log_file);
  settings.Number("memory_limit_bytes", &config.memory_limit_bytes, int64_t{0}, int64_t{1} << 50);
  settings.Number("drain_seconds", &config.drain_seconds, 0.0, 86400.0);
  settings.Section("storage", std::move(storage));
  CALIPRESS_RETURN_IF_ERROR(settings.Read(yaml));
  return config;
}

std::string_view ConfigExample() { return kExample; }

}  // namespace calipress::worker
