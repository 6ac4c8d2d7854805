#include "compress/storage/arrow_store.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "arrow/filesystem/filesystem.h"
#include "arrow/io/interfaces.h"
#include "arrow/result.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/arrow_error.h"
#include "compress/storage/arrow_writer.h"
#include "compress/storage/filesystem_cache.h"
#include "compress/storage/uri.h"

namespace calipress::storage {
namespace {

using arrow::fs::FileInfo;
using arrow::fs::FileType;

class ArrowReader : public ObjectReader {
 public:
  ArrowReader(std::string uri, std::shared_ptr<arrow::io::RandomAccessFile> file, int64_t size)
      : uri_(std::move(uri)), file_(std::move(file)), size_(size) {}

  int64_t size() const override { return size_; }

  absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
    if (offset < 0 || length < 0 || offset > size_ || length > size_ - offset) {
      return MakeError(absl::StatusCode::kOutOfRange, reason::kInvalidRequest, ErrorClass::kUser,
                       absl::StrCat("cannot read ", length, " bytes at ", offset, " of ", RedactUri(uri_), ": it has ",
                                    size_, " bytes"));
    }
    if (length == 0) return absl::OkStatus();
    const auto got = file_->ReadAt(offset, length, data);
    if (!got.ok()) return FromArrow(got.status(), "read", uri_);
    if (*got != length) {
      return EnvironmentError(reason::kStorageUnavailable,
                              absl::StrCat("cannot read ", RedactUri(uri_), ": ", length, " bytes at ", offset,
                                           " were asked for and ", *got, " came; did it change while it was read?"));
    }
    return absl::OkStatus();
  }

 private:
  const std::string uri_;
  std::shared_ptr<arrow::io::RandomAccessFile> file_;
  const int64_t size_;
};

class ArrowStore : public ObjectStore {
 public:
  explicit ArrowStore(const StorageOptions& options) : filesystems_(options) {}

  absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const std::string& uri) override {
    CALIPRESS_ASSIGN_OR_RETURN(const ResolvedPath at, Resolve(uri));
    auto file = at.filesystem->OpenInputFile(at.path);
    if (!file.ok()) return ExplainOpen(file.status(), at, uri);
    const auto size = (*file)->GetSize();
    if (!size.ok()) return FromArrow(size.status(), "read", uri);
    return std::make_unique<ArrowReader>(uri, *file, *size);
  }

  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string& uri) override {
    CALIPRESS_ASSIGN_OR_RETURN(const Location location, ParseUri(uri));
    CALIPRESS_RETURN_IF_ERROR(RefuseTop(location, "write", uri));
    if (uri.back() == '/') return IsAFolder(uri);
    CALIPRESS_ASSIGN_OR_RETURN(ResolvedPath target, filesystems_.Resolve(location));
    return CreateArrowWriter(uri, location, std::move(target));
  }

  absl::StatusOr<ObjectInfo> Stat(const std::string& uri) override {
    CALIPRESS_ASSIGN_OR_RETURN(const ResolvedPath at, Resolve(uri));
    const auto info = at.filesystem->GetFileInfo(at.path);
    if (!info.ok()) return FromArrow(info.status(), "look up", uri);
    if (info->type() == FileType::NotFound) return NotFound("look up", uri);
    ObjectInfo result;
    result.uri = uri;
    result.is_folder = info->type() == FileType::Directory;
    result.size = result.is_folder ? 0 : std::max<int64_t>(info->size(), 0);
    return result;
  }

  absl::StatusOr<std::vector<ObjectInfo>> List(const std::string& folder_uri) override {
    CALIPRESS_ASSIGN_OR_RETURN(const ResolvedPath at, Resolve(folder_uri));
    arrow::fs::FileSelector selector;
    selector.base_dir = at.path;
    selector.recursive = true;
    selector.allow_not_found = true;
    const auto found = at.filesystem->GetFileInfo(selector);
    if (!found.ok()) return FromArrow(found.status(), "list", folder_uri);
    const size_t prefix = at.path.empty() || at.path == "/" ? at.path.size() : at.path.size() + 1;
    std::vector<ObjectInfo> listed;
    for (const FileInfo& info : *found) {
      if (info.type() != FileType::File || IsPartialPath(info.path()) || info.path().size() <= prefix) continue;
      listed.push_back({JoinUri(folder_uri, info.path().substr(prefix)), std::max<int64_t>(info.size(), 0), false});
    }
    std::sort(listed.begin(), listed.end(), [](const ObjectInfo& a, const ObjectInfo& b) { return a.uri < b.uri; });
    return listed;
  }

  absl::Status Move(const std::string& from, const std::string& to) override {
    CALIPRESS_ASSIGN_OR_RETURN(const Location source, ParseUri(from));
    CALIPRESS_ASSIGN_OR_RETURN(const Location target, ParseUri(to));
    if (source.FilesystemKey() != target.FilesystemKey()) {
      return UserError(reason::kInvalidRequest, absl::StrCat("cannot move ", RedactUri(from), " to ", RedactUri(to),
                                                             ": they are in different stores"));
    }
    CALIPRESS_RETURN_IF_ERROR(RefuseTop(source, "move", from));
    CALIPRESS_RETURN_IF_ERROR(RefuseTop(target, "move to", to));
    CALIPRESS_ASSIGN_OR_RETURN(const ResolvedPath old_path, filesystems_.Resolve(source));
    CALIPRESS_ASSIGN_OR_RETURN(const ResolvedPath new_path, filesystems_.Resolve(target));
    CALIPRESS_ASSIGN_OR_RETURN(const ObjectInfo info, Stat(from));
    if (source.scheme == "file") {
      const arrow::Status made = new_path.filesystem->CreateDir(ParentPath(new_path.path), /*recursive=*/true);
      if (!made.ok()) return FromArrow(made, "create the folder of", to);
      return RenameLocal(old_path.path, new_path.path, /*replace=*/false, to);
    }
    if (info.is_folder) {
      return UserError(reason::kInvalidRequest,
                       absl::StrCat("cannot move ", RedactUri(from), ": object stores move objects, not folders"));
    }
    // Copy on the server, then delete. A crash in between leaves both, never neither.
    const arrow::Status copied = old_path.filesystem->CopyFile(old_path.path, new_path.path);
    if (!copied.ok()) return FromArrow(copied, "copy to", to);
    return FromArrow(old_path.filesystem->DeleteFile(old_path.path), "delete", from);
  }

  absl::Status Delete(const std::string& uri) override {
    CALIPRESS_ASSIGN_OR_RETURN(const ObjectInfo info, Stat(uri));
    if (info.is_folder) return IsAFolder(uri);
    CALIPRESS_ASSIGN_OR_RETURN(const ResolvedPath at, Resolve(uri));
    return FromArrow(at.filesystem->DeleteFile(at.path), "delete", uri);
  }

  absl::Status DeleteFolder(const std::string& folder_uri) override {
    CALIPRESS_ASSIGN_OR_RETURN(const Location location, ParseUri(folder_uri));
    CALIPRESS_RETURN_IF_ERROR(RefuseTop(location, "delete", folder_uri));
    const absl::StatusOr<ObjectInfo> info = Stat(folder_uri);
    if (absl::IsNotFound(info.status())) return absl::OkStatus();
    if (!info.ok()) return info.status();
    if (!info->is_folder) {
      return UserError(reason::kInvalidRequest,
                       absl::StrCat("cannot delete the folder ", RedactUri(folder_uri), ": it is a file"));
    }
    CALIPRESS_ASSIGN_OR_RETURN(const ResolvedPath at, filesystems_.Resolve(location));
    const absl::Status status = FromArrow(at.filesystem->DeleteDir(at.path), "delete", folder_uri);
    // Somebody else was quicker: it is gone, which is what was asked for.
    return absl::IsNotFound(status) ? absl::OkStatus() : status;
  }

 private:
  absl::StatusOr<ResolvedPath> Resolve(const std::string& uri) {
    CALIPRESS_ASSIGN_OR_RETURN(const Location location, ParseUri(uri));
    return filesystems_.Resolve(location);
  }

  static absl::Status NotFound(std::string_view action, const std::string& uri) {
    return FromErrno(ENOENT, action, uri);
  }
  static absl::Status IsAFolder(const std::string& uri) { return FromErrno(EISDIR, "write or delete", uri); }

  // Whole buckets and "/" are never written over, moved or deleted.
  static absl::Status RefuseTop(const Location& location, std::string_view action, const std::string& uri) {
    if (!location.path.empty() && location.path != "/") return absl::OkStatus();
    return UserError(reason::kInvalidRequest,
                     absl::StrCat("cannot ", absl::string_view(action.data(), action.size()), " ", RedactUri(uri),
                                  ": it is a whole bucket or file system; name something in it"));
  }

  // Arrow's text for an open of a folder differs by backend; a look-up tells it apart from a failure.
  absl::Status ExplainOpen(const arrow::Status& status, const ResolvedPath& at, const std::string& uri) {
    const absl::Status plain = FromArrow(status, "read", uri);
    if (absl::IsUnavailable(plain) || absl::IsPermissionDenied(plain)) {
      if (at.filesystem->type_name() != "local") return plain;
    }
    const auto info = at.filesystem->GetFileInfo(at.path);
    if (info.ok() && info->type() == FileType::Directory) return FromErrno(EISDIR, "read", uri);
    return plain;
  }

  FilesystemCache filesystems_;
};

}  // namespace

std::unique_ptr<ObjectStore> MakeArrowStore(const StorageOptions& options) {
  return std::make_unique<ArrowStore>(options);
}

}  // namespace calipress::storage
