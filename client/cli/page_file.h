#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/v1/job.pb.h"
#include "client/cli/console.h"

namespace calipress::cli {

// Writes a page to a file of this machine, whole or not at all.
absl::Status WritePage(const std::string& path, const std::string& html);

// Writes it to a new file in the folder for temporary ones, which stays; its path.
absl::StatusOr<std::string> WriteTemporaryPage(const std::string& html);

// The page of a job's report: to a file, which it names, or with "-" to standard output. Returns the exit code.
int SavePage(const v1::CompressionJob& job, const std::string& path, const Console& console);

// Opens a file with the desktop's program for it (xdg-open). NOT_FOUND where there is none.
absl::Status OpenOnDesktop(const std::string& path);

}  // namespace calipress::cli
