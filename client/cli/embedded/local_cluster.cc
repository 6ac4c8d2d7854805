#include "client/cli/embedded/local_cluster.h"

#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/embedded/program_path.h"
#include "client/cli/embedded/worker_supervisor.h"
#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/embedded.h"

namespace calipress::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kRegistrationSeconds = 120;
constexpr auto kPoll = std::chrono::milliseconds(30);

// YAML's double-quoted texts are JSON's.
std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<fs::path> MakePrivateFolder() {
  std::error_code error;
  fs::path base = fs::temp_directory_path(error);
  if (error) base = "/tmp";
  std::string name = (base / "calipress-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    return EnvironmentError(reason::kStorageUnavailable,
                            absl::StrCat("cannot make a temporary folder in ", base.string(),
                                         "; set TMPDIR to a folder that can be written"));
  }
  return fs::path(name);
}

class Cluster : public LocalCluster {
 public:
  Cluster(fs::path folder, std::unique_ptr<server::EmbeddedCoordinator> coordinator)
      : folder_(std::move(folder)),
        coordinator_(std::move(coordinator)),
        client_(client::CompressionClient::Connect(coordinator_->address())) {}

  ~Cluster() override {
    supervisor_.reset();
    client_.reset();
    coordinator_->Stop();
    std::error_code ignored;
    if (!keep_) fs::remove_all(folder_, ignored);
  }

  client::CompressionClient* client() override { return client_.get(); }

  std::string KeepLogs() override {
    keep_ = true;
    return folder_.string();
  }

  absl::Status StartWorkers(const LocalClusterOptions& options, const CancellationToken& broken) {
    CALIPRESS_ASSIGN_OR_RETURN(const fs::path program, FindProgram("calipress-worker"));
    const int threads = options.threads_per_worker > 0 ? options.threads_per_worker : DefaultThreads(options.workers);
    std::vector<WorkerSupervisor::Worker> workers;
    for (int i = 0; i < options.workers; ++i) {
      const std::string id = absl::StrCat("worker-", i);
      const fs::path config = folder_ / (id + ".yaml");
      const fs::path log = folder_ / (id + ".log");
      std::ofstream file(config);
      file << WorkerConfigYaml({coordinator_->address(), id, options.device, threads, log.string()});
      file.close();
      if (!file) {
        return EnvironmentError(reason::kStorageFull, absl::StrCat("cannot write ", config.string()));
      }
      workers.push_back({id, config, log});
      ids_.insert(id);
    }
    supervisor_ = std::make_unique<WorkerSupervisor>(
        program, std::move(workers),
        [token = broken](absl::Status status) mutable { token.Cancel(std::move(status)); });
    return absl::OkStatus();
  }

  absl::Status WaitForWorkers(const CancellationToken& stop, const CancellationToken& broken) {
    const Stopwatch stopwatch;
    while (true) {
      if (stop.cancelled()) return stop.status();
      if (broken.cancelled()) return broken.status();
      CALIPRESS_ASSIGN_OR_RETURN(const v1::ListWorkersResponse known, client_->ListWorkers());
      std::set<std::string> idle;
      for (const v1::WorkerInfo& worker : known.workers()) {
        if (worker.state() == v1::WorkerInfo::IDLE || worker.state() == v1::WorkerInfo::BUSY) idle.insert(worker.id());
      }
      if (std::includes(idle.begin(), idle.end(), ids_.begin(), ids_.end())) return absl::OkStatus();
      if (stopwatch.Seconds() > kRegistrationSeconds) {
        return EnvironmentError(reason::kWorkerLost, absl::StrCat("only ", idle.size(), " of ", ids_.size(),
                                                                  " workers have registered within ",
                                                                  static_cast<int>(kRegistrationSeconds), " s"));
      }
      std::this_thread::sleep_for(kPoll);
    }
  }

 private:
  const fs::path folder_;
  const std::unique_ptr<server::EmbeddedCoordinator> coordinator_;
  std::unique_ptr<client::CompressionClient> client_;
  std::unique_ptr<WorkerSupervisor> supervisor_;
  std::set<std::string> ids_;
  bool keep_ = false;
};

}  // namespace

int DefaultThreads(int workers) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, cores / std::max(1, workers));
}

std::string WorkerConfigYaml(const WorkerConfig& config) {
  return absl::StrCat("# Written by calipress run; gone with it.\n",      //
                      "coordinator: ", Quoted(config.coordinator), "\n",  //
                      "id: ", Quoted(config.id), "\n",                    //
                      "device: ", Quoted(config.device), "\n",            //
                      "threads: ", config.threads, "\n",                  //
                      "host: \"127.0.0.1\"\n",                            //
                      "metrics_address: \"\"\n",                          //
                      "log_level: info\n",                                //
                      "log_file: ", Quoted(config.log_file), "\n");
}

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(const LocalClusterOptions& options,
                                                                  const CancellationToken& stop,
                                                                  const CancellationToken& broken) {
  CALIPRESS_ASSIGN_OR_RETURN(fs::path folder, MakePrivateFolder());
  // The coordinator's lines would tear the progress bar.
  StartLogging("calipress", "info", (folder / "coordinator.log").string());
  auto coordinator = server::EmbeddedCoordinator::Start({.database_path = options.database});
  if (!coordinator.ok()) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    return coordinator.status();
  }
  auto cluster = std::make_unique<Cluster>(std::move(folder), *std::move(coordinator));
  absl::Status status = cluster->StartWorkers(options, broken);
  if (status.ok()) status = cluster->WaitForWorkers(stop, broken);
  if (!status.ok()) {
    if (absl::IsCancelled(status)) return status;
    return Annotate(status, absl::StrCat("the workers did not start (logs are in ", cluster->KeepLogs(), ")"));
  }
  return cluster;
}

}  // namespace calipress::cli
