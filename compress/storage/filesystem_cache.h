#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"
#include "compress/storage/uri.h"

namespace arrow::fs {
class FileSystem;
}

namespace calipress::storage {

// An Arrow file system, and the path in it that a location means.
struct ResolvedPath {
  std::shared_ptr<arrow::fs::FileSystem> filesystem;
  std::string path;
};

// Opens one Arrow file system for each scheme, bucket and query, and keeps it (connections, credentials). Thread-safe.
class FilesystemCache {
 public:
  explicit FilesystemCache(StorageOptions options);
  ~FilesystemCache();

  absl::StatusOr<ResolvedPath> Resolve(const Location& location);

 private:
  StorageOptions options_;
  std::mutex mutex_;
  // By Location::FilesystemKey; the path is that of the bucket's or account's top.
  std::map<std::string, ResolvedPath> opened_;
};

// `query` with endpoint_override, scheme and region filled in from `environment` where it lacks them. An endpoint may
// carry its scheme ("http://127.0.0.1:7070").
std::string CompleteS3Query(const std::string& query, const std::string& endpoint, const std::string& region);

}  // namespace calipress::storage
