#include "client/cli/page_file.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "compress/base/error.h"
#include "compress/report/page.h"

extern char** environ;

namespace calipress::cli {
namespace {

absl::Status WriteError(const std::string& path, int code) {
  return UserError(reason::kInvalidRequest,
                   absl::StrCat("cannot write ", path, ": ", std::strerror(code), "; give another file with --html"));
}

}  // namespace

absl::Status WritePage(const std::string& path, const std::string& html) {
  const std::string part = path + ".part";
  std::ofstream file(part, std::ios::binary | std::ios::trunc);
  file << html;
  file.close();
  if (!file) {
    const int code = errno;
    std::error_code ignored;
    std::filesystem::remove(part, ignored);
    return WriteError(path, code);
  }
  std::error_code error;
  std::filesystem::rename(part, path, error);
  if (!error) return absl::OkStatus();
  std::error_code ignored;
  std::filesystem::remove(part, ignored);
  return WriteError(path, error.value());
}

absl::StatusOr<std::string> WriteTemporaryPage(const std::string& html) {
  std::error_code error;
  std::string path = (std::filesystem::temp_directory_path(error) / "calipress-report-XXXXXX.html").string();
  constexpr int kSuffix = 5;
  const int file = error ? -1 : mkstemps(path.data(), kSuffix);
  if (file < 0) return WriteError(path, error ? error.value() : errno);
  // Into the file that is ours alone: what has its name may be somebody else's a moment later.
  size_t done = 0;
  ssize_t wrote = 0;
  while (done < html.size() && (wrote = write(file, html.data() + done, html.size() - done)) > 0) {
    done += static_cast<size_t>(wrote);
  }
  const int code = errno;
  close(file);
  if (done == html.size()) return path;
  unlink(path.c_str());
  return WriteError(path, code);
}

int SavePage(const v1::CompressionJob& job, const std::string& path, const Console& console) {
  const std::string page = report::ReportPage(job, job.report());
  if (path == "-") {
    console.out << page << std::flush;
    return kDone;
  }
  if (const absl::Status written = WritePage(path, page); !written.ok()) {
    console.err << ErrorText(written);
    return ExitCodeOf(written);
  }
  console.out << "written   " << path << std::endl;
  return kDone;
}

absl::Status OpenOnDesktop(const std::string& path) {
  const std::string absolute = std::filesystem::absolute(path).string();
  std::string program = "xdg-open", argument = absolute;
  char* arguments[] = {program.data(), argument.data(), nullptr};
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, program.c_str(), &quiet, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&quiet);
  int ended = 0;
  if (failed == 0) {
    while (waitpid(child, &ended, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(ended) && WEXITSTATUS(ended) == 0) return absl::OkStatus();
  }
  return absl::NotFoundError("xdg-open is not here, or knows no program for web pages");
}

}  // namespace calipress::cli
