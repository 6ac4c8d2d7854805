#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::cli {

// Starts a program in a process group of its own (Ctrl-C of the terminal does not reach it), its output added to a log
// file. The kernel ends it with SIGTERM when the calling *thread* ends, also by SIGKILL of this process.
absl::StatusOr<pid_t> StartChild(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                                 const std::filesystem::path& log);

// How a child ended ("exit code 1", "signal 9"), once it has; nothing while it runs. Reaps it.
std::optional<std::string> ChildEnd(pid_t child);

}  // namespace calipress::cli
