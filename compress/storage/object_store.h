#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace calipress::storage {

// One file or object, or a folder (a common prefix).
struct ObjectInfo {
  std::string uri;
  int64_t size = 0;
  bool is_folder = false;
};

// Bytes of one object by range. Thread-safe.
class ObjectReader {
 public:
  virtual ~ObjectReader() = default;
  virtual int64_t size() const = 0;
  // Fills [data, data + length) from `offset`; a short read is an error.
  virtual absl::Status ReadAt(int64_t offset, int64_t length, void* data) = 0;
};

// Writes one object. Nobody sees it before Close succeeds; dropping the writer without Close leaves nothing behind.
// Not thread-safe.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;
  virtual absl::Status Write(const void* data, int64_t length) = 0;
  virtual absl::Status Close() = 0;
};

// Files and objects by URI: a plain path, file://, s3://, gs://, abfs://. The one seam to storage. Thread-safe.
//
// Errors carry a reason: NOT_FOUND keeps its code; STORAGE_PERMISSION_DENIED, STORAGE_FULL and STORAGE_UNAVAILABLE
// are told apart. Messages name the URI without credentials. Passing failures are retried a few times inside.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  virtual absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const std::string& uri) = 0;
  virtual absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& uri) = 0;
  virtual absl::StatusOr<ObjectInfo> Stat(const std::string& uri) = 0;
  // Everything below a folder, recursively, files only, sorted. A missing folder is an empty list.
  virtual absl::StatusOr<std::vector<ObjectInfo>> List(const std::string& folder_uri) = 0;
  // Within one store. The target must not exist on file:// (checked); object stores replace it.
  virtual absl::Status Move(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Delete(const std::string& uri) = 0;
  // A missing folder is not an error.
  virtual absl::Status DeleteFolder(const std::string& folder_uri) = 0;

  // The whole object; more than `limit` bytes is an error.
  absl::StatusOr<std::string> ReadAll(const std::string& uri, int64_t limit);
  absl::Status WriteAll(const std::string& uri, std::string_view bytes);
  // False for NOT_FOUND, other failures stay failures.
  absl::StatusOr<bool> Exists(const std::string& uri);
};

// Where the environment and the URI do not say it.
struct StorageOptions {
  // For s3://; empty: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, then Amazon's own.
  std::string s3_endpoint;
  std::string s3_region;
};

// The store over Arrow's filesystems, metered (calipress_storage_*) and retrying.
std::unique_ptr<ObjectStore> OpenObjectStore(const StorageOptions& options = {});

// "a/b" + "c" with exactly one slash; keeps a query ("?...") at the end.
std::string JoinUri(std::string_view folder, std::string_view name);

// The URI without user, password and query: for logs and messages.
std::string RedactUri(std::string_view uri);

// OK where the scheme is one of ours and the rest is well-formed; says what is wrong otherwise.
absl::Status CheckUri(std::string_view uri);

// "file", "s3", "gs" or "abfs"; "" for any other.
std::string UriScheme(std::string_view uri);

}  // namespace calipress::storage
