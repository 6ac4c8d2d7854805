#include "server/assembly/checkpoint_publisher.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/safetensors.h"
#include "server/assembly/checkpoint_design.h"
#include "server/assembly/kept_checkpoints.h"
#include "server/assembly/publication.h"
#include "server/assembly/study_files.h"
#include "server/fleet/staging.h"

namespace calipress::assembly {
namespace {

// The one checkpoint that is the job's output itself.
absl::StatusOr<Checkpoint> OwnCheckpoint(storage::ObjectStore& store, const v1::CompressionJob& job,
                                         const std::vector<worker::v1::StageOutcome>& outcomes,
                                         const v1::Report& report) {
  CALIPRESS_ASSIGN_OR_RETURN(const v1::CompressionJob alone, JobOfCheckpoint(job, report));
  StagedParts parts;
  for (const auto& outcome : outcomes) {
    parts.shards.insert(parts.shards.end(), outcome.shards().begin(), outcome.shards().end());
  }
  std::sort(parts.shards.begin(), parts.shards.end(), [](const auto& a, const auto& b) { return a.file() < b.file(); });
  // The calibration ids lie with the attempt that made them; attempts make the same ones.
  for (int attempt = 1; attempt <= job.attempt(); ++attempt) {
    parts.ids.push_back(fleet::CalibrationIdsUri(job, attempt));
  }
  parts.imatrix = storage::JoinUri(fleet::AttemptStaging(job, job.attempt()), fleet::kImatrixFile);
  return DesignCheckpoint(store, fleet::StagingRoot(job), alone, /*folder=*/"", report, std::move(parts));
}

absl::Status SweepOutput(storage::ObjectStore& store, const v1::CompressionJob& job, OutputClaim claim) {
  const bool succeeded = job.state() == v1::CompressionJob::SUCCEEDED;
  if (!succeeded) CALIPRESS_RETURN_IF_ERROR(TakeBack(store, job, claim));
  CALIPRESS_RETURN_IF_ERROR(store.DeleteFolder(fleet::StagingRoot(job)));
  // After the staging folder: a claim without one is stale.
  CALIPRESS_RETURN_IF_ERROR(claim.Remove());
  CALIPRESS_RETURN_IF_ERROR(DeleteIfEmpty(store, storage::JoinUri(job.output(), "_calipress")));
  return succeeded ? absl::OkStatus() : DeleteIfEmpty(store, job.output());
}

}  // namespace

absl::Status CheckpointPublisher::Publish(const v1::CompressionJob& job,
                                          const std::vector<worker::v1::StageOutcome>& outcomes,
                                          const std::vector<worker::v1::FinishedBlock>& /*blocks*/,
                                          const std::vector<worker::v1::KeptRun>& kept, v1::Report* report) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto source, checkpoint::ModelReader::Open(store_, job.model()));
  report->set_source_bytes(source->total_bytes());
  if (job.output().empty()) return absl::OkStatus();
  Publication publication{job, {}, {}, {}};
  const int kept_runs = report->study().kept_size();
  if (kept_runs > 1) {
    CALIPRESS_ASSIGN_OR_RETURN(publication.checkpoints, KeptCheckpoints(store_, job, kept, *report));
  } else if (kept_runs == 1 || !job.recipe().has_study()) {
    CALIPRESS_ASSIGN_OR_RETURN(publication.checkpoints.emplace_back(), OwnCheckpoint(store_, job, outcomes, *report));
  }
  CALIPRESS_ASSIGN_OR_RETURN(publication.tables, StudyFiles(job, *report));
  publication.sets = CalibrationSets(job, *report);
  OutputClaim claim(store_, job, clock_, patience_);
  return Put(store_, publication, claim, report);
}

absl::Status CheckpointPublisher::Sweep(const v1::CompressionJob& job) {
  return job.output().empty() ? absl::OkStatus() : SweepOutput(store_, job, {store_, job, clock_, patience_});
}

}  // namespace calipress::assembly
