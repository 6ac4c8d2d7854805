#include "compress/storage/filesystem_cache.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "arrow/filesystem/azurefs.h"
#include "arrow/filesystem/gcsfs.h"
#include "arrow/filesystem/localfs.h"
#include "arrow/filesystem/s3fs.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/arrow_error.h"
#include "compress/storage/retry_count.h"
#include "compress/storage/storage_environment.h"

namespace calipress::storage {
namespace {

// Repeats of one HTTP request inside the S3 client: what a stream of uploads needs, since a half-written stream cannot
// be repeated from outside. With the time limits below a server that hangs costs about 15 s.
class BoundedS3Retry : public arrow::fs::S3RetryStrategy {
 public:
  bool ShouldRetry(const AWSErrorDetail& error, int64_t attempted_retries) override {
    return error.should_retry && attempted_retries < 2;
  }
  int64_t CalculateDelayBeforeNextRetry(const AWSErrorDetail&, int64_t attempted_retries) override {
    CountRetry(reason::kStorageUnavailable);
    return int64_t{200} << attempted_retries;
  }
};

constexpr double kS3ConnectTimeoutSeconds = 3;
constexpr double kS3RequestTimeoutSeconds = 5;
constexpr double kGcsRetryLimitSeconds = 15;

// Starts the AWS SDK once.
absl::Status StartS3() {
  static const arrow::Status started = [] {
    auto options = arrow::fs::S3GlobalOptions::Defaults();
    options.log_level = arrow::fs::S3LogLevel::Off;
    // The SDK's TLS may raise SIGPIPE, whose default is to end the process.
    struct sigaction current {};
    options.install_sigpipe_handler = sigaction(SIGPIPE, nullptr, &current) == 0 && current.sa_handler == SIG_DFL;
    return arrow::fs::InitializeS3(options);
  }();
  if (!started.ok()) return DefectError(absl::StrCat("the S3 client does not start: ", started.message()));
  return absl::OkStatus();
}

// The AWS SDK must be stopped before the process's static objects go, or it crashes there. Exit handlers run in the
// reverse order of registration, and Arrow makes the objects that stopping needs with its first client: so this is
// called after one was made (earlier, and the process hangs at exit on a mutex that is gone).
void StopS3AtExit() {
  static const int registered = std::atexit([] {
    if (!arrow::fs::EnsureS3Finalized().ok()) std::fputs("calipress: the S3 client did not stop cleanly\n", stderr);
  });
  (void)registered;
}

// Arrow's text may quote the URI, so it is only passed on where there is nothing secret in it.
absl::Status BadUri(const arrow::Status& status, const Location& location) {
  const bool secret = location.authority.find('@') != std::string::npos || !location.query.empty();
  return UserError(reason::kInvalidRequest,
                   absl::StrCat("'", RedactUri(location.scheme + "://" + location.authority),
                                "': the storage does not understand its address or query",
                                secret ? std::string() : absl::StrCat(" (", status.message(), ")")));
}

bool HasKey(const std::string& query, const std::string& key) {
  return ("&" + query).find("&" + key + "=") != std::string::npos;
}

void AddPair(std::string* query, const std::string& key, const std::string& value) {
  absl::StrAppend(query, query->empty() ? "" : "&", key, "=", value);
}

std::string RootUri(const Location& location, const std::string& query) {
  return location.scheme + "://" + location.authority + (query.empty() ? "" : "?" + query);
}

absl::StatusOr<ResolvedPath> OpenS3(const Location& location, const StorageOptions& options) {
  CALIPRESS_RETURN_IF_ERROR(StartS3());
  const S3Environment environment = ResolveS3Environment(options);
  std::string top;
  auto s3 = arrow::fs::S3Options::FromUri(
      RootUri(location, CompleteS3Query(location.query, environment.endpoint, environment.region)), &top);
  if (!s3.ok() && s3.status().IsIOError()) return FromArrow(s3.status(), "reach", RootUri(location, ""));
  if (!s3.ok()) return BadUri(s3.status(), location);
  s3->connect_timeout = kS3ConnectTimeoutSeconds;
  s3->request_timeout = kS3RequestTimeoutSeconds;
  s3->retry_strategy = std::make_shared<BoundedS3Retry>();
  auto filesystem = arrow::fs::S3FileSystem::Make(*s3);
  if (!filesystem.ok()) return FromArrow(filesystem.status(), "reach", RootUri(location, ""));
  StopS3AtExit();
  return ResolvedPath{*filesystem, top};
}

absl::StatusOr<ResolvedPath> OpenGcs(const Location& location) {
  std::string top;
  auto gcs = arrow::fs::GcsOptions::FromUri(RootUri(location, location.query), &top);
  if (!gcs.ok()) return BadUri(gcs.status(), location);
  // Google's own default is to try for 15 minutes.
  if (!gcs->retry_limit_seconds) gcs->retry_limit_seconds = kGcsRetryLimitSeconds;
  auto filesystem = arrow::fs::GcsFileSystem::Make(*gcs);
  if (!filesystem.ok()) return FromArrow(filesystem.status(), "reach", RootUri(location, ""));
  return ResolvedPath{*filesystem, top};
}

absl::StatusOr<ResolvedPath> OpenAzure(const Location& location) {
  std::string top;
  auto azure = arrow::fs::AzureOptions::FromUri(RootUri(location, location.query), &top);
  if (!azure.ok()) return BadUri(azure.status(), location);
  auto filesystem = arrow::fs::AzureFileSystem::Make(*azure);
  if (!filesystem.ok()) return FromArrow(filesystem.status(), "reach", RootUri(location, ""));
  return ResolvedPath{*filesystem, top};
}

absl::StatusOr<ResolvedPath> OpenFilesystem(const Location& location, const StorageOptions& options) {
  if (location.scheme == "s3") return OpenS3(location, options);
  if (location.scheme == "gs") return OpenGcs(location);
  if (location.scheme == "abfs") return OpenAzure(location);
  return ResolvedPath{std::make_shared<arrow::fs::LocalFileSystem>(), ""};
}

}  // namespace

std::string CompleteS3Query(const std::string& query, const std::string& endpoint, const std::string& region) {
  std::string completed = query;
  bool own_endpoint = HasKey(query, "endpoint_override");
  if (!own_endpoint && !endpoint.empty()) {
    std::string host = endpoint;
    const size_t scheme_end = host.find("://");
    if (scheme_end != std::string::npos) {
      if (!HasKey(query, "scheme")) AddPair(&completed, "scheme", host.substr(0, scheme_end));
      host = host.substr(scheme_end + 3);
    }
    while (!host.empty() && host.back() == '/') host.pop_back();
    AddPair(&completed, "endpoint_override", host);
    own_endpoint = true;
  }
  // Without a region Arrow asks Amazon, and the SDK asks the machine's metadata service: both wrong for another server.
  if (!HasKey(query, "region") && (own_endpoint || !region.empty())) {
    AddPair(&completed, "region", region.empty() ? "us-east-1" : region);
  }
  return completed;
}

FilesystemCache::FilesystemCache(StorageOptions options) : options_(std::move(options)) {}
FilesystemCache::~FilesystemCache() = default;

absl::StatusOr<ResolvedPath> FilesystemCache::Resolve(const Location& location) {
  ResolvedPath top;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::string key = location.FilesystemKey();
    auto found = opened_.find(key);
    if (found == opened_.end()) {
      CALIPRESS_ASSIGN_OR_RETURN(ResolvedPath opened, OpenFilesystem(location, options_));
      found = opened_.emplace(key, std::move(opened)).first;
    }
    top = found->second;
  }
  if (top.path.empty()) {
    top.path = location.path;
  } else if (!location.path.empty()) {
    top.path += "/" + location.path;
  }
  return top;
}

}  // namespace calipress::storage
