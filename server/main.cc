#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>

#include "compress/base/log.h"
#include "compress/base/version.h"
#include "server/config.h"
#include "server/server.h"

namespace {

constexpr int kUsageExit = 2;

void PrintHelp() {
  std::cout
      << "usage: calipress-coordinator --config FILE\n\n"
         "Takes compression jobs over gRPC, plans them on workers, and publishes what they make. Stops on SIGTERM or\n"
         "SIGINT; jobs under way go on when it is started again with the same database.\n\n"
         "  --config FILE   configuration in YAML\n"
         "  --version       print the version\n"
         "  --help          print this\n\n"
         "FILE, with every key at its default:\n\n"
      << calipress::server::ConfigExample();
}

int Fail(std::string_view message) {
  std::cerr << "calipress-coordinator: " << message << "\n";
  return kUsageExit;
}

int Run(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) return Fail("cannot read " + path + "; see --help for an example");
  const auto config = calipress::server::ParseConfig(text.str());
  if (!config.ok()) return Fail(path + ": " + std::string(config.status().message()));
  try {
    if (!calipress::StartLogging("calipress-coordinator", config->log_level, config->log_file)) {
      return Fail(path + ": log_level is not a level");
    }
  } catch (const std::exception& e) {
    return Fail("cannot write to log_file " + config->log_file + ": " + e.what());
  }

  // Before any thread starts, so that all of them leave the signals to this one.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  auto server = calipress::server::Server::Start(config->server);
  if (!server.ok()) {
    calipress::LogError("the coordinator cannot start", {{"error", std::string(server.status().message())}});
    if (!config->log_file.empty()) Fail(std::string(server.status().message()));
    return 1;
  }
  int received = 0;
  sigwait(&signals, &received);
  calipress::LogInfo("the coordinator is stopping", {{"signal", received}});
  // A second signal ends it at once.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  (*server)->Stop();
  server->reset();
  calipress::LogInfo("the coordinator has stopped");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string config;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      PrintHelp();
      return 0;
    }
    if (argument == "--version") {
      std::cout << "calipress-coordinator " << calipress::kVersion << " (" << calipress::BuildRevision() << ")\n";
      return 0;
    }
    if (argument.starts_with("--config=")) {
      config = argument.substr(std::string_view("--config=").size());
    } else if (argument == "--config" && i + 1 < argc) {
      config = argv[++i];
    } else {
      return Fail("unknown argument '" + std::string(argument) + "'; see --help");
    }
  }
  if (config.empty()) return Fail("--config FILE is needed; see --help for an example");
  return Run(config);
}
