#include "server/assembly/checkpoint_design.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/publication/source_files.h"
#include "compress/recipe/recipe_yaml.h"
#include "compress/recipe/replay.h"
#include "server/assembly/expected_tensors.h"
#include "server/fleet/staging.h"

namespace calipress::assembly {

std::vector<std::string> Checkpoint::Files() const {
  std::vector<std::string> files = copies;
  for (const auto& shard : shards) files.push_back(shard.file());
  if (!repeated_config.empty()) files.push_back(repeated_config);
  for (const char* file :
       {kIndexFile, kRecipeFile, kReplayFile, kReportFile, kPageFile, fleet::kCalibrationIdsFile, kConfigFile})
    files.emplace_back(file);
  if (imatrix_staged) files.emplace_back(fleet::kImatrixFile);
  return files;
}

absl::StatusOr<Checkpoint> DesignCheckpoint(storage::ObjectStore& store, const std::string& staging_root,
                                            const v1::CompressionJob& job, const std::string& folder,
                                            const v1::Report& report, StagedParts parts) {
  Checkpoint checkpoint;
  checkpoint.job = job;
  checkpoint.folder = folder;
  checkpoint.shards = std::move(parts.shards);
  CALIPRESS_ASSIGN_OR_RETURN(const std::string source_config,
                             store.ReadAll(storage::JoinUri(job.model(), kConfigFile), kLargestConfig));
  CALIPRESS_ASSIGN_OR_RETURN(const arch::ArchSpec spec, arch::ParseConfig(source_config));
  checkpoint.expected = ExpectedTensors(job.recipe(), spec);
  CALIPRESS_RETURN_IF_ERROR(CheckShards(checkpoint.shards, checkpoint.expected));
  for (const auto& shard : checkpoint.shards) {
    if (checkpoint::NameBelow(staging_root, shard.uri()).empty()) {
      return DefectError(absl::StrCat("shard ", shard.file(), " was reported outside of the job's staging folder"));
    }
  }
  const LinearOutcome linears = LinearsOf(job.recipe(), spec);
  if (linears.spqr) {
    CALIPRESS_ASSIGN_OR_RETURN(checkpoint.config, checkpoint::SpqrConfig(source_config, *linears.spqr, linears.dense));
  } else if (linears.quantized.empty()) {
    checkpoint.config = source_config;
  } else {
    const auto& format = *checkpoint::FindLinearFormat(job.recipe().output().format());
    CALIPRESS_ASSIGN_OR_RETURN(checkpoint.config, format.Config(source_config, linears.quantized, linears.dense));
    checkpoint.repeated_config = format.repeated_config();
  }
  if (checkpoint.shards.size() > 1) checkpoint.index = ShardIndex(checkpoint.shards);
  CALIPRESS_ASSIGN_OR_RETURN(checkpoint.copies, checkpoint::CopiedFiles(store, job.model()));
  for (const std::string& ids : parts.ids) {
    CALIPRESS_ASSIGN_OR_RETURN(const bool exists, store.Exists(ids));
    if (!exists) continue;
    checkpoint.ids_staged = ids;
    break;
  }
  const auto replay = recipe::ReplayRecipe(job.recipe(), report.calibration(),
                                           storage::JoinUri(job.output(), fleet::kCalibrationIdsFile));
  if (replay) checkpoint.replay = recipe::RecipeYaml(*replay);
  if (job.recipe().output().imatrix()) checkpoint.imatrix_staged = parts.imatrix;
  checkpoint.report = report;
  checkpoint.report.set_output_bytes(TensorBytes(checkpoint.shards));
  return checkpoint;
}

}  // namespace calipress::assembly
