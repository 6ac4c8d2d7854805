#include "client/cli/embedded/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"

namespace calipress::cli {
namespace {

constexpr int kCannotExecute = 127;

}  // namespace

absl::StatusOr<pid_t> StartChild(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                                 const std::filesystem::path& log) {
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (output < 0) {
    return EnvironmentError(reason::kInternal, absl::StrCat("cannot write ", log.string(), ": ", std::strerror(errno)));
  }
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    // Between fork and exec of a process with threads only async-signal-safe calls are allowed.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(kCannotExecute);  // it was gone before prctl
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    const int input = open("/dev/null", O_RDONLY);
    dup2(input, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execv(program.c_str(), argv.data());
    _exit(kCannotExecute);
  }
  const int error = errno;
  close(output);
  if (child < 0) {
    return EnvironmentError(reason::kInternal,
                            absl::StrCat("cannot start ", program.string(), ": ", std::strerror(error)));
  }
  return child;
}

std::optional<std::string> ChildEnd(pid_t child) {
  int status = 0;
  const pid_t ended = waitpid(child, &status, WNOHANG);
  if (ended == 0) return std::nullopt;
  if (ended < 0) return "lost";
  if (WIFSIGNALED(status)) return absl::StrCat("signal ", WTERMSIG(status));
  return absl::StrCat("exit code ", WEXITSTATUS(status));
}

}  // namespace calipress::cli
