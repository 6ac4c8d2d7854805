#include "client/cli/embedded/output_database.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/uri.h"

namespace calipress::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kDatabase[] = "jobs.db";
constexpr char kLock[] = "jobs.lock";

absl::Status FolderError(const fs::path& folder, const std::error_code& error) {
  const std::string message = absl::StrCat("cannot make the folder ", folder.string(), ": ", error.message());
  if (error == std::errc::permission_denied || error == std::errc::read_only_file_system) {
    return PreconditionError(reason::kStoragePermissionDenied, message);
  }
  if (error == std::errc::no_space_on_device) return PreconditionError(reason::kStorageFull, message);
  if (error == std::errc::not_a_directory || error == std::errc::file_exists) {
    return PreconditionError(reason::kOutputExists, absl::StrCat(message, "; a file lies in its place"));
  }
  return EnvironmentError(reason::kStorageUnavailable, message);
}

}  // namespace

absl::StatusOr<OutputDatabase> OutputDatabase::Open(const std::string& output_uri) {
  CALIPRESS_ASSIGN_OR_RETURN(const storage::Location location, storage::ParseUri(output_uri));
  OutputDatabase database;
  if (location.scheme != "file") return database;
  const fs::path output = location.path;
  std::error_code error;
  if (fs::exists(output, error) && !fs::is_directory(output, error)) {
    return PreconditionError(reason::kOutputExists, absl::StrCat("output ", output.string(),
                                                                 " is a file; give a folder that is empty or new"));
  }
  database.folder_ = output / "_calipress";
  std::vector<fs::path> missing;
  for (fs::path at = database.folder_; !at.empty() && !fs::exists(at, error); at = at.parent_path()) {
    missing.insert(missing.begin(), at);
    if (at == at.parent_path()) break;
  }
  for (const fs::path& folder : missing) {
    if (fs::create_directory(folder, error)) database.made_.push_back(folder);
    if (error) {
      const absl::Status status = FolderError(folder, error);
      database.Remove();
      return status;
    }
  }
  const fs::path lock = database.folder_ / kLock;
  database.lock_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (database.lock_ < 0) {
    const absl::Status status = FolderError(lock, {errno, std::generic_category()});
    database.Remove();
    return status;
  }
  if (flock(database.lock_, LOCK_EX | LOCK_NB) != 0) {
    close(std::exchange(database.lock_, -1));
    return PreconditionError(reason::kOutputExists,
                             absl::StrCat("another calipress run is writing to ", output.string()));
  }
  return database;
}

OutputDatabase::OutputDatabase(OutputDatabase&& other) noexcept
    : folder_(std::exchange(other.folder_, {})),
      made_(std::exchange(other.made_, {})),
      lock_(std::exchange(other.lock_, -1)) {}

OutputDatabase::~OutputDatabase() {
  if (lock_ >= 0) close(lock_);
}

std::string OutputDatabase::path() const { return folder_.empty() ? ":memory:" : (folder_ / kDatabase).string(); }

void OutputDatabase::Remove() {
  if (folder_.empty()) return;
  std::error_code ignored;
  // SQLite's companions go with it.
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) fs::remove(path() + suffix, ignored);
  fs::remove(folder_ / kLock, ignored);
  // rmdir spares what is not empty: staged files of a job, or an output.
  rmdir(folder_.c_str());
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) rmdir(folder->c_str());
}

}  // namespace calipress::cli
