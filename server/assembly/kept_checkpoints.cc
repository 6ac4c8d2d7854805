#include "server/assembly/kept_checkpoints.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/recipe/study.h"
#include "server/fleet/report_bounds.h"
#include "server/fleet/report_merge.h"
#include "server/fleet/staging.h"

namespace calipress::assembly {
namespace {

using worker::v1::KeptRun;
using worker::v1::StageState;

constexpr int64_t kLargestState = 256 << 20;

absl::StatusOr<std::vector<StageState>> ReadStates(storage::ObjectStore& store, const std::string& staging,
                                                   int world_size) {
  std::vector<StageState> states;
  for (int rank = 0; rank < world_size; ++rank) {
    const std::string uri = storage::JoinUri(staging, fleet::KeptStateFile(rank));
    auto bytes = store.ReadAll(uri, kLargestState);
    if (absl::IsNotFound(bytes.status())) {
      return EnvironmentError(reason::kStorageUnavailable,
                              absl::StrCat(storage::RedactUri(uri), " is gone; submit the job again"));
    }
    if (!bytes.ok()) return bytes.status();
    if (!states.emplace_back().ParseFromString(*bytes)) {
      return DefectError(absl::StrCat(storage::RedactUri(uri), " is damaged"));
    }
    fleet::BoundStage(&states.back());
  }
  return states;
}

v1::Report ReportOf(const std::vector<StageState>& states, int64_t source_bytes) {
  std::map<int, worker::v1::FinishedBlock> by_index;
  for (const StageState& state : states) {
    for (const auto& block : state.finished_blocks()) by_index[block.index()] = block;
  }
  std::vector<worker::v1::FinishedBlock> blocks;
  for (auto& [index, block] : by_index) blocks.push_back(std::move(block));
  v1::Report report = fleet::MergeReports(states, {}, blocks);
  report.set_source_bytes(source_bytes);
  for (const v1::PhaseReport& phase : report.phases()) {
    report.set_total_seconds(report.total_seconds() + phase.seconds());
  }
  return report;
}

absl::StatusOr<Checkpoint> OneCheckpoint(storage::ObjectStore& store, const v1::CompressionJob& job,
                                         const recipe::StudyRun& run, const KeptRun& kept, int64_t source_bytes) {
  const std::string staging = fleet::KeptStaging(job, kept.attempt(), kept.index());
  CALIPRESS_ASSIGN_OR_RETURN(const auto states, ReadStates(store, staging, kept.world_size()));
  StagedParts parts;
  for (const StageState& state : states) {
    parts.shards.insert(parts.shards.end(), state.outcome().shards().begin(), state.outcome().shards().end());
  }
  std::sort(parts.shards.begin(), parts.shards.end(), [](const auto& a, const auto& b) { return a.file() < b.file(); });
  parts.ids.push_back(storage::JoinUri(staging, fleet::kCalibrationIdsFile));
  parts.imatrix = storage::JoinUri(staging, fleet::kImatrixFile);
  v1::CompressionJob alone = job;
  const std::string folder = recipe::RunFolder(run.name);
  *alone.mutable_recipe() = run.recipe;
  alone.set_output(storage::JoinUri(job.output(), folder));
  return DesignCheckpoint(store, fleet::StagingRoot(job), alone, folder, ReportOf(states, source_bytes),
                          std::move(parts));
}

}  // namespace

absl::StatusOr<std::vector<Checkpoint>> KeptCheckpoints(storage::ObjectStore& store, const v1::CompressionJob& job,
                                                        const std::vector<KeptRun>& kept, const v1::Report& report) {
  std::map<std::string, recipe::StudyRun> runs;
  for (recipe::StudyRun& run : recipe::StudyRuns(job.recipe())) runs[run.name] = std::move(run);
  std::vector<Checkpoint> checkpoints;
  for (const std::string& name : report.study().kept()) {
    const auto run = runs.find(name);
    if (run == runs.end()) return DefectError(absl::StrCat("the study has no run '", name, "'"));
    const auto written =
        std::find_if(kept.begin(), kept.end(), [&](const KeptRun& one) { return one.index() == run->second.index; });
    if (written == kept.end()) return DefectError(absl::StrCat("run ", name, " is to be kept, and no worker wrote it"));
    CALIPRESS_ASSIGN_OR_RETURN(checkpoints.emplace_back(),
                               OneCheckpoint(store, job, run->second, *written, report.source_bytes()));
  }
  return checkpoints;
}

}  // namespace calipress::assembly
