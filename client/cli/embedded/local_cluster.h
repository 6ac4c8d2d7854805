#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/lib/compression_client.h"
#include "compress/base/cancellation.h"

namespace calipress::cli {

struct LocalClusterOptions {
  int workers = 1;
  int threads_per_worker = 0;  // 0: the machine's cores / workers, at least 1
  std::string device = "cpu";
  std::string database = ":memory:";
};

// A coordinator in this process and worker processes on loopback, for one job. Logs and worker configurations lie in a
// private temporary folder.
class LocalCluster {
 public:
  // Returns when every worker has registered. `stop` ends the waiting with its status. Whatever later ends the cluster
  // (a worker that dies again and again) raises `broken`.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(const LocalClusterOptions& options,
                                                             const CancellationToken& stop,
                                                             const CancellationToken& broken);

  // Ends workers and coordinator. Removes the temporary folder unless KeepLogs was called.
  virtual ~LocalCluster() = default;

  virtual client::CompressionClient* client() = 0;

  // Leaves the temporary folder behind and says where it is.
  virtual std::string KeepLogs() = 0;
};

// Threads of each worker where none were asked for.
int DefaultThreads(int workers);

// A worker's configuration file.
struct WorkerConfig {
  std::string coordinator;  // host:port
  std::string id;
  std::string device;
  int threads = 1;
  std::string log_file;
};
std::string WorkerConfigYaml(const WorkerConfig& config);

}  // namespace calipress::cli
