#include "compress/recipe/data_kind.h"
#include "compress/recipe/part_checks.h"
#include "compress/storage/object_store.h"

namespace calipress::recipe {

void CheckUri(const std::string& uri, const std::string& path, const Refuse& refuse) {
  if (uri.empty()) return refuse(path, "is required");
  const absl::Status status = storage::CheckUri(uri);
  if (!status.ok()) refuse(path, std::string(status.message()));
}

void CheckTextUri(const std::string& uri, const std::string& path, const Refuse& refuse) {
  CheckUri(uri, path, refuse);
  const DataKind kind = DataKindOf(uri);
  if (!uri.empty() && kind != DataKind::kText && kind != DataKind::kJsonLines) {
    refuse(path, "must name a .txt or a .jsonl file");
  }
}

}  // namespace calipress::recipe
