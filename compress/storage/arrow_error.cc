#include "compress/storage/arrow_error.h"

#include <cerrno>
#include <initializer_list>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "arrow/status.h"
#include "arrow/util/io_util.h"
#include "compress/base/error.h"
#include "compress/storage/object_store.h"

namespace calipress::storage {
namespace {

enum class Kind { kNotFound, kDenied, kFull, kExists, kIsFolder, kUnavailable, kInvalid };

Kind KindOfErrno(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return Kind::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return Kind::kDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Kind::kFull;
    case EEXIST:
    case ENOTEMPTY:
      return Kind::kExists;
    case EISDIR:
      return Kind::kIsFolder;
    case ENAMETOOLONG:
    case EINVAL:
    case ELOOP:
      return Kind::kInvalid;
    default:
      return Kind::kUnavailable;
  }
}

bool HasAny(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    if (text.find(word) != std::string_view::npos) return true;
  }
  return false;
}

// Object stores report by text alone: the error names of the AWS SDK, of S3 servers and of Azure.
Kind KindOfText(std::string_view text) {
  // Before "not found": some servers answer an unknown user with 404.
  if (HasAny(text, {"ACCESS_DENIED", "AccessDenied", "INVALID_ACCESS_KEY_ID", "InvalidAccessKeyId",
                    "SIGNATURE_DOES_NOT_MATCH", "SignatureDoesNotMatch", "UNRECOGNIZED_CLIENT", "EXPIRED_TOKEN",
                    "ExpiredToken", "INVALID_CLIENT_TOKEN_ID", "AuthenticationFailed", "AuthorizationFailure",
                    "AuthorizationPermissionMismatch", "PERMISSION_DENIED", "UNAUTHENTICATED", "XAdminUserNotFound",
                    "HTTP status 403", "response code: 403", "response code: 401"})) {
    return Kind::kDenied;
  }
  if (HasAny(text, {"NO_SUCH_BUCKET", "NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "NoSuchBucket", "NoSuchKey",
                    "Path does not exist", "ContainerNotFound", "BlobNotFound", "HTTP status 404"})) {
    return Kind::kNotFound;
  }
  if (HasAny(text, {"QuotaExceeded", "InsufficientStorage", "StorageFull", "XMinioStorageFull", "response code: 507",
                    "No space left", "EntityTooLarge"})) {
    return Kind::kFull;
  }
  return Kind::kUnavailable;
}

absl::Status Make(Kind kind, std::string_view action, std::string_view uri, const std::string& detail) {
  const std::string subject =
      absl::StrCat("cannot ", absl::string_view(action.data(), action.size()), " ", RedactUri(uri), ": ");
  const std::string tail = detail.empty() ? "" : absl::StrCat(" (", detail, ")");
  switch (kind) {
    case Kind::kNotFound:
      return MakeError(absl::StatusCode::kNotFound, reason::kInvalidRequest, ErrorClass::kUser,
                       absl::StrCat(subject, "there is no such file or object"));
    case Kind::kDenied:
      return MakeError(absl::StatusCode::kPermissionDenied, reason::kStoragePermissionDenied, ErrorClass::kUser,
                       absl::StrCat(subject, "the storage refuses access; check permissions and credentials", tail));
    case Kind::kFull:
      // The user's: whichever worker tries again writes to the same full place, and fills it again.
      return MakeError(absl::StatusCode::kResourceExhausted, reason::kStorageFull, ErrorClass::kUser,
                       absl::StrCat(subject, "the storage is full or over its quota; free space there", tail));
    case Kind::kExists:
      return MakeError(absl::StatusCode::kAlreadyExists, reason::kOutputExists, ErrorClass::kUser,
                       absl::StrCat(subject, "something is there already; choose another place or remove it"));
    case Kind::kIsFolder:
      return UserError(reason::kInvalidRequest, absl::StrCat(subject, "it is a folder, not a file"));
    case Kind::kInvalid:
      return UserError(reason::kInvalidRequest, absl::StrCat(subject, "the storage does not accept it", tail));
    case Kind::kUnavailable:
      return EnvironmentError(reason::kStorageUnavailable,
                              absl::StrCat(subject, "the storage does not answer as it should", tail));
  }
  return DefectError(subject);
}

}  // namespace

absl::Status FromErrno(int error, std::string_view action, std::string_view uri) {
  return Make(KindOfErrno(error), action, uri, std::generic_category().message(error));
}

absl::Status FromArrow(const arrow::Status& status, std::string_view action, std::string_view uri) {
  if (status.ok()) return absl::OkStatus();
  const int error = arrow::internal::ErrnoFromStatus(status);
  if (error != 0) return FromErrno(error, action, uri);
  // The text may span lines; logs and messages are one line.
  std::string detail = status.message().substr(0, 500);
  for (char& c : detail) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  if (status.IsInvalid() || status.IsNotImplemented()) return Make(Kind::kInvalid, action, uri, detail);
  return Make(KindOfText(detail), action, uri, detail);
}

}  // namespace calipress::storage
