#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <iostream>
#include <sstream>

#include <torch/version.h>

#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/metrics.h"
#include "compress/base/thread.h"
#include "compress/base/version.h"
#include "compress/collective/group.h"
#include "worker/config.h"
#include "worker/device/device.h"
#include "worker/device/memory.h"
#include "worker/device/threads.h"
#include "worker/session/channel.h"
#include "worker/session/health.h"
#include "worker/session/session.h"
#include "worker/stage/classified_executor.h"
#include "worker/stage/engine_executor.h"
#include "worker/stage/logged_executor.h"
#include "worker/stage/metered_executor.h"

namespace calipress::worker {
namespace {

constexpr int kUsageExit = 2;

int Fail(std::string_view message, int code = kUsageExit) {
  std::cerr << "calipress-worker: " << message << "\n";
  return code;
}

void PrintHelp() {
  std::cout
      << "usage: calipress-worker --config FILE\n\n"
         "Runs stages of compression jobs for a coordinator. SIGTERM: takes no new work, finishes the stage under\n"
         "way or gives it up after drain_seconds, and exits; a second SIGTERM exits at once.\n\n"
         "  --config FILE   configuration in YAML\n"
         "  --version       print the version\n"
         "  --help          print this\n\n"
         "FILE, with every key at its default:\n\n"
      << ConfigExample();
}

std::string DefaultId() {
  char host[256] = "worker";
  gethostname(host, sizeof host - 1);
  return std::string(host) + "-" + std::to_string(getpid());
}

// Drains on the first SIGTERM or SIGINT and ends the process on the second. The signals are blocked everywhere else.
std::jthread WatchSignals(const sigset_t& signals, Session* session) {
  return StartThread("signals", [signals, session] {
    int received = 0;
    sigwait(&signals, &received);
    session->Drain();
    if (received == SIGUSR1) return;  // Run has returned by itself
    sigwait(&signals, &received);
    if (received != SIGUSR1) _exit(1);
  });
}

int Run(Config config) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  // The device comes before anything that asks libtorch for one.
  QuietTorchLog();
  auto device = OpenDevice(config.device);
  if (!device.ok()) return Fail(std::string(device.status().message()), 1);
  const int threads = UseThreads(config.threads);
  if (config.id.empty()) config.id = DefaultId();
  SetBuildInfo(TORCH_VERSION, device->cuda_version);

  std::unique_ptr<MetricsServer> metrics;
  if (!config.metrics_address.empty()) {
    std::string error;
    metrics = MetricsServer::Start(config.metrics_address, &error);
    if (!metrics) return Fail(error, 1);
  }
  std::unique_ptr<HealthServer> health;
  if (!config.health_address.empty()) {
    health = HealthServer::Start(config.health_address);
    if (!health) return Fail("cannot serve health on " + config.health_address + ": is the port taken?", 1);
  }
  auto rendezvous = collective::Rendezvous::Listen(config.rendezvous_port);
  if (!rendezvous.ok()) return Fail(std::string(rendezvous.status().message()), 1);
  auto store = storage::OpenObjectStore(config.storage);
  const int64_t budget = config.memory_limit_bytes > 0 ? config.memory_limit_bytes : device->memory_bytes / 3;
  auto sampler = MemorySampler::Start(device->kind, device->memory_bytes);

  SessionOptions options;
  options.worker_id = config.id;
  options.drain_seconds = config.drain_seconds;
  options.capabilities.set_device(device->kind);
  options.capabilities.set_threads(threads);
  options.capabilities.set_memory_bytes(device->memory_bytes);
  options.capabilities.set_rendezvous(config.host + ":" + std::to_string((*rendezvous)->port()));
  options.capabilities.set_version(std::string(kVersion));

  EngineOptions engine;
  engine.device = device->kind;
  engine.backend = device->collective_backend;
  engine.host = config.host;
  engine.memory_budget = budget;
  auto executor = LogStages(MeterStages(ClassifyFailures(MakeEngineExecutor(engine, store.get()))), config.id);
  auto channel = MakeGrpcChannel(config.coordinator);
  Session session(options, channel.get(), executor.get());
  LogInfo("worker starts", {{"worker", config.id},
                            {"device", device->name},
                            {"threads", threads},
                            {"memory_budget_bytes", budget},
                            {"coordinator", config.coordinator}});
  std::jthread watcher = WatchSignals(signals, &session);
  const bool stopped = session.Run();
  LogInfo("worker stops", {{"worker", config.id}});
  if (!stopped) _exit(1);  // a stage that cannot be stopped runs on; nothing is waited for
  pthread_kill(watcher.native_handle(), SIGUSR1);
  return 0;
}

}  // namespace
}  // namespace calipress::worker

int main(int argc, char** argv) {
  using calipress::worker::Fail;
  std::string path;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      calipress::worker::PrintHelp();
      return 0;
    }
    if (argument == "--version") {
      std::cout << "calipress-worker " << calipress::kVersion << " (" << calipress::BuildRevision() << ")\n";
      return 0;
    }
    if (argument.starts_with("--config=")) {
      path = argument.substr(std::string_view("--config=").size());
    } else if (argument == "--config" && i + 1 < argc) {
      path = argv[++i];
    } else {
      return Fail("unknown argument '" + std::string(argument) + "'; see --help");
    }
  }
  if (path.empty()) return Fail("--config FILE is needed; see --help for an example");
  std::ifstream file(path);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) return Fail("cannot read " + path + "; see --help for an example");
  auto config = calipress::worker::ParseConfig(text.str());
  if (!config.ok()) return Fail(path + ": " + std::string(config.status().message()));
  try {
    if (!calipress::StartLogging("calipress-worker", config->log_level, config->log_file)) {
      return Fail(path + ": log_level is not a level");
    }
  } catch (const std::exception& e) {
    return Fail("cannot write to log_file " + config->log_file + ": " + e.what());
  }
  return calipress::worker::Run(*std::move(config));
}
