#include "absl/strings/str_cat.h"
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
  if (!uri.empty() && !IsDocuments(DataKindOf(uri))) {
    refuse(path, absl::StrCat("must name a file that ends with ",
                              absl::string_view(kDocumentEndings.data(), kDocumentEndings.size())));
  }
}

}  // namespace calipress::recipe
