#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"

namespace calipress::checkpoint {

// publishing.json in a job's staging folder: written before the first file of the job appears in the output, it says
// which files there are the job's own. What lies in the output without a marker came from someone else.
inline constexpr char kMarkerFile[] = "publishing.json";

absl::Status WriteMarker(storage::ObjectStore& store, const std::string& staging_root,
                         const std::vector<std::string>& files);

// The file names; nothing where there is no marker.
absl::StatusOr<std::optional<std::vector<std::string>>> ReadMarker(storage::ObjectStore& store,
                                                                   const std::string& staging_root);

}  // namespace calipress::checkpoint
