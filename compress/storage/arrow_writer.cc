#include "compress/storage/arrow_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "arrow/filesystem/filesystem.h"
#include "arrow/io/file.h"
#include "arrow/io/interfaces.h"
#include "arrow/result.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/arrow_error.h"

namespace calipress::storage {
namespace {

// Arrow uploads parts in the background and holds each until it is through; waiting now and then bounds that.
constexpr int64_t kBytesInFlight = 64 << 20;

// Makes a rename survive a loss of power. Not every file system can; a failure here is not one of the write.
void SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)fsync(fd);
  close(fd);
}

class ArrowWriter : public ObjectWriter {
 public:
  ArrowWriter(std::string uri, std::string scheme, ResolvedPath target, std::string partial,
              std::shared_ptr<arrow::io::OutputStream> stream)
      : uri_(std::move(uri)),
        scheme_(std::move(scheme)),
        target_(std::move(target)),
        partial_(std::move(partial)),
        stream_(std::move(stream)) {}

  ~ArrowWriter() override {
    if (stream_ != nullptr) Discard();
  }

  absl::Status Write(const void* data, int64_t length) override {
    if (stream_ == nullptr) return DefectError("a write to " + RedactUri(uri_) + " after it was closed or had failed");
    const char* bytes = static_cast<const char*>(data);
    while (length > 0) {
      const int64_t piece = std::min(length, kBytesInFlight);
      arrow::Status status = stream_->Write(bytes, piece);
      in_flight_ += piece;
      if (status.ok() && in_flight_ >= kBytesInFlight && scheme_ != "file") {
        status = stream_->Flush();
        in_flight_ = 0;
      }
      if (!status.ok()) return Fail(FromArrow(status, "write", uri_));
      bytes += piece;
      length -= piece;
    }
    return absl::OkStatus();
  }

  absl::Status Close() override {
    if (stream_ == nullptr) return DefectError("a second close of " + RedactUri(uri_) + ", or one after a failure");
    if (scheme_ == "file") {
      const auto* file = dynamic_cast<arrow::io::FileOutputStream*>(stream_.get());
      if (file != nullptr && fsync(file->file_descriptor()) != 0 && errno != EINVAL) {
        return Fail(FromErrno(errno, "write", uri_));
      }
    }
    if (const arrow::Status status = stream_->Close(); !status.ok()) return Fail(FromArrow(status, "write", uri_));
    if (scheme_ == "file") {
      if (absl::Status status = RenameLocal(partial_, target_.path, true, uri_); !status.ok()) return Fail(status);
      SyncFolder(ParentPath(target_.path));
    } else if (partial_ != target_.path) {
      const arrow::Status copied = target_.filesystem->CopyFile(partial_, target_.path);
      if (!copied.ok()) return Fail(FromArrow(copied, "publish", uri_));
      (void)target_.filesystem->DeleteFile(partial_);
    }
    stream_ = nullptr;
    return absl::OkStatus();
  }

 private:
  absl::Status Fail(absl::Status status) {
    Discard();
    return status;
  }

  // Nobody waits for the outcome: the object was never visible.
  void Discard() {
    if (scheme_ == "s3") {
      // Parts on their way after an abort would stay behind for ever.
      if (!stream_->closed()) (void)stream_->Flush();
      if (!stream_->closed()) (void)stream_->Abort();
    } else {
      if (!stream_->closed()) (void)stream_->Close();
      (void)target_.filesystem->DeleteFile(partial_);
    }
    stream_ = nullptr;
  }

  const std::string uri_;
  const std::string scheme_;
  const ResolvedPath target_;
  const std::string partial_;  // equal to the target on s3
  std::shared_ptr<arrow::io::OutputStream> stream_;
  int64_t in_flight_ = 0;
};

}  // namespace

absl::Status RenameLocal(const std::string& from, const std::string& to, bool replace, const std::string& uri) {
  if (replace) {
    return rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus() : FromErrno(errno, "write", uri);
  }
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
    SyncFolder(ParentPath(to));
    return absl::OkStatus();
  }
  if (errno != EINVAL && errno != ENOSYS) {
    if (errno == EXDEV) {
      return UserError(reason::kInvalidRequest, "cannot move to " + RedactUri(uri) +
                                                    ": it is on another file system; choose a place on the same");
    }
    return FromErrno(errno, "move to", uri);
  }
  // A file system without an exclusive rename: look first, which leaves a gap between two writers of one name.
  struct stat existing {};
  if (lstat(to.c_str(), &existing) == 0) return FromErrno(EEXIST, "move to", uri);
  return rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus() : FromErrno(errno, "move to", uri);
}

absl::StatusOr<std::unique_ptr<ObjectWriter>> CreateArrowWriter(const std::string& uri, const Location& location,
                                                                ResolvedPath target) {
  const std::string partial = location.scheme == "s3" ? target.path : PartialPath(target.path);
  if (location.scheme == "file") {
    struct stat existing {};
    if (stat(target.path.c_str(), &existing) == 0 && S_ISDIR(existing.st_mode)) return FromErrno(EISDIR, "write", uri);
    const arrow::Status made = target.filesystem->CreateDir(ParentPath(target.path), /*recursive=*/true);
    if (!made.ok()) return FromArrow(made, "create the folder of", uri);
  }
  auto stream = target.filesystem->OpenOutputStream(partial, nullptr);
  if (!stream.ok()) return FromArrow(stream.status(), "create", uri);
  return std::make_unique<ArrowWriter>(uri, location.scheme, std::move(target), partial, *std::move(stream));
}

}  // namespace calipress::storage
