#include "compress/storage/object_store.h"

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/arrow_store.h"
#include "compress/storage/metering_store.h"
#include "compress/storage/retrying_store.h"

namespace calipress::storage {

absl::StatusOr<std::string> ObjectStore::ReadAll(const std::string& uri, int64_t limit) {
  CALIPRESS_ASSIGN_OR_RETURN(std::unique_ptr<ObjectReader> reader, Open(uri));
  if (reader->size() > limit) {
    return UserError(reason::kInvalidRequest, absl::StrCat(RedactUri(uri), " has ", reader->size(), " bytes; at most ",
                                                           limit, " are read here"));
  }
  std::string bytes(static_cast<size_t>(reader->size()), '\0');
  CALIPRESS_RETURN_IF_ERROR(reader->ReadAt(0, reader->size(), bytes.data()));
  return bytes;
}

absl::Status ObjectStore::WriteAll(const std::string& uri, std::string_view bytes) {
  CALIPRESS_ASSIGN_OR_RETURN(std::unique_ptr<ObjectWriter> writer, Create(uri));
  CALIPRESS_RETURN_IF_ERROR(writer->Write(bytes.data(), static_cast<int64_t>(bytes.size())));
  return writer->Close();
}

absl::StatusOr<bool> ObjectStore::Exists(const std::string& uri) {
  const absl::StatusOr<ObjectInfo> info = Stat(uri);
  if (info.ok()) return true;
  if (absl::IsNotFound(info.status())) return false;
  return info.status();
}

std::unique_ptr<ObjectStore> OpenObjectStore(const StorageOptions& options) {
  return MakeMeteringStore(MakeRetryingStore(MakeArrowStore(options)));
}

}  // namespace calipress::storage
