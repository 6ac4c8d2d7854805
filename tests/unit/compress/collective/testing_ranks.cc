#include "testing_ranks.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <ATen/Parallel.h>
#include <c10/util/Logging.h>

extern char** environ;

namespace calipress::collective::testing {
namespace {

std::map<std::string, Role>& Roles() {
  static auto* const roles = new std::map<std::string, Role>;
  return *roles;
}

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

int RunRole(const std::string& name) {
  at::set_num_threads(1);
  GroupOptions options;
  options.rendezvous = Environment("CALIPRESS_TEST_RENDEZVOUS");
  options.key = "test";
  options.rank = std::stoi(Environment("CALIPRESS_TEST_RANK"));
  options.size = std::stoi(Environment("CALIPRESS_TEST_SIZE"));
  options.host = "127.0.0.1";
  return Roles().at(name)(options);
}

}  // namespace

RegisterRole::RegisterRole(const std::string& name, Role role) { Roles()[name] = std::move(role); }

void SayReady() {
  const int fd = std::stoi(Environment("CALIPRESS_TEST_READY"));
  if (write(fd, "r", 1) != 1) std::abort();
}

Gang::Gang(const std::string& role, int size) {
  auto rendezvous = Rendezvous::Listen(0);
  EXPECT_TRUE(rendezvous.ok()) << rendezvous.status();
  if (!rendezvous.ok()) return;
  rendezvous_ = *std::move(rendezvous);
  for (int rank = 0; rank < size; ++rank) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    const int theirs = fcntl(ends[1], F_DUPFD, 10);  // the one end that the child keeps
    close(ends[1]);
    std::vector<std::string> environment;
    for (char** variable = environ; *variable; ++variable) environment.push_back(*variable);
    environment.push_back("CALIPRESS_TEST_ROLE=" + role);
    environment.push_back("CALIPRESS_TEST_RENDEZVOUS=127.0.0.1:" + std::to_string(rendezvous_->port()));
    environment.push_back("CALIPRESS_TEST_RANK=" + std::to_string(rank));
    environment.push_back("CALIPRESS_TEST_SIZE=" + std::to_string(size));
    environment.push_back("CALIPRESS_TEST_READY=" + std::to_string(theirs));
    std::vector<char*> pointers;
    for (std::string& variable : environment) pointers.push_back(variable.data());
    pointers.push_back(nullptr);
    char program[] = "rank";
    char* arguments[] = {program, nullptr};
    Process process;
    if (posix_spawn(&process.pid, "/proc/self/exe", nullptr, nullptr, arguments, pointers.data()) != 0) std::abort();
    close(theirs);
    process.ready = ends[0];
    processes_.push_back(process);
  }
}

Gang::~Gang() {
  for (size_t rank = 0; rank < processes_.size(); ++rank) {
    Kill(static_cast<int>(rank));
    if (processes_[rank].pid > 0) waitpid(processes_[rank].pid, nullptr, 0);
    close(processes_[rank].ready);
  }
}

void Gang::Kill(int rank) {
  if (processes_.at(rank).pid > 0) kill(processes_[rank].pid, SIGKILL);
}

int Gang::Wait(int rank, double seconds) {
  Process& process = processes_.at(rank);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(process.pid, &status, WNOHANG);
    if (ended == process.pid) {
      process.pid = -1;
      return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }
    if (std::chrono::steady_clock::now() > deadline) {
      Kill(rank);
      return -1000;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

bool Gang::WaitReady(int rank) {
  pollfd entry{processes_.at(rank).ready, POLLIN, 0};
  char byte = 0;
  return poll(&entry, 1, 60000) == 1 && read(entry.fd, &byte, 1) == 1;
}

}  // namespace calipress::collective::testing

// Takes the place of gtest_main's: a rank runs its role and no tests.
int main(int argc, char** argv) {
  setenv("TORCH_CPP_LOG_LEVEL", "FATAL", /*overwrite=*/0);  // losses are what the tests are about
  c10::initLogging();
  // As the programs do: a peer that has ended is an error, not a signal.
  std::signal(SIGPIPE, SIG_IGN);
  if (const char* role = std::getenv("CALIPRESS_TEST_ROLE")) return calipress::collective::testing::RunRole(role);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
