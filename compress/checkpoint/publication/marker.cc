#include "compress/checkpoint/publication/marker.h"

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kLargestMarker = 16 << 20;

}  // namespace

absl::Status WriteMarker(storage::ObjectStore& store, const std::string& staging_root,
                         const std::vector<std::string>& files) {
  const nlohmann::json marker = {{"files", files}};
  return store.WriteAll(storage::JoinUri(staging_root, kMarkerFile), marker.dump(2) + "\n");
}

absl::StatusOr<std::optional<std::vector<std::string>>> ReadMarker(storage::ObjectStore& store,
                                                                   const std::string& staging_root) {
  const std::string uri = storage::JoinUri(staging_root, kMarkerFile);
  auto text = store.ReadAll(uri, kLargestMarker);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  if (!text.ok()) return text.status();
  const auto marker = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  std::vector<std::string> files;
  if (!marker.is_object() || !marker.contains("files") || !marker["files"].is_array()) {
    return DefectError(absl::StrCat(storage::RedactUri(uri), " is not a list of files"));
  }
  for (const auto& file : marker["files"]) {
    if (file.is_string()) files.push_back(file.get<std::string>());
  }
  return files;
}

}  // namespace calipress::checkpoint
