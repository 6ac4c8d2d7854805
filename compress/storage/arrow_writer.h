#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "compress/storage/filesystem_cache.h"
#include "compress/storage/object_store.h"
#include "compress/storage/uri.h"

namespace calipress::storage {

// A writer that shows its object at Close only, by what the backend offers:
// - file: a temporary sibling, synced and renamed;
// - s3: a multipart upload, completed at Close and aborted otherwise;
// - gs, abfs: a temporary sibling, copied on the server and deleted (Arrow cannot abort an upload there).
absl::StatusOr<std::unique_ptr<ObjectWriter>> CreateArrowWriter(const std::string& uri, const Location& location,
                                                                ResolvedPath target);

// Renames a local file or folder. ALREADY_EXISTS / OUTPUT_EXISTS where the target is there and `replace` is false.
absl::Status RenameLocal(const std::string& from, const std::string& to, bool replace, const std::string& uri);

}  // namespace calipress::storage
