#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"
#include "compress/storage/object_store.h"
#include "server/assembly/shards.h"

namespace calipress::assembly {

inline constexpr char kConfigFile[] = "config.json";
inline constexpr char kIndexFile[] = "model.safetensors.index.json";
inline constexpr char kRecipeFile[] = "recipe.yaml";
inline constexpr char kReplayFile[] = "replay.yaml";
inline constexpr char kReportFile[] = "report.json";
inline constexpr char kPageFile[] = "report.html";
inline constexpr int64_t kLargestConfig = 4 << 20;
inline constexpr int64_t kLargestReport = 256 << 20;

// What workers have staged of a checkpoint.
struct StagedParts {
  Shards shards;
  // Where the calibration ids are staged, or were; the first that is there is taken.
  std::vector<std::string> ids;
  std::string imatrix;
};

// What a checkpoint will be, known before anything of it is written.
struct Checkpoint {
  v1::CompressionJob job;  // as an ordinary one: its recipe, its folder as output
  std::string folder;      // seen from the output that is published; "": the output itself
  v1::Report report;       // what is written beside it
  Shards shards;
  std::map<std::string, std::vector<int64_t>> expected;  // shapes of its tensors
  std::string config;                                    // text of config.json
  std::string repeated_config;                           // file that repeats its quantization_config; empty: none
  std::optional<std::string> index;                      // text of the index, with several shards
  std::vector<std::string> copies;                       // taken over from the source
  std::optional<std::string> ids_staged;                 // calibration ids, where they still are in staging
  std::optional<std::string> replay;                     // text of the recipe that calibrates with these ids again
  std::optional<std::string> imatrix_staged;             // where imatrix.gguf is written, if it is a part

  // Names in its folder.
  std::vector<std::string> Files() const;
  // The name as seen from the output that is published.
  std::string Below(const std::string& name) const { return folder.empty() ? name : folder + "/" + name; }
};

// Checks what the workers reported against what the recipe leaves. Sets the report's output_bytes.
absl::StatusOr<Checkpoint> DesignCheckpoint(storage::ObjectStore& store, const std::string& staging_root,
                                            const v1::CompressionJob& job, const std::string& folder,
                                            const v1::Report& report, StagedParts parts);

}  // namespace calipress::assembly
