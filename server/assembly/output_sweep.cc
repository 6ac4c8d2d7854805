#include "server/assembly/output_sweep.h"

#include <string>

#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/publication/marker.h"
#include "server/assembly/output_claim.h"
#include "server/fleet/staging.h"

namespace calipress::assembly {
namespace {

// Takes back what a publication that did not reach config.json has put into the output. Without its claim the job has
// lost the output, and these names are another's.
absl::Status TakeBack(storage::ObjectStore& store, const v1::CompressionJob& job, const OutputClaim& claim) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto marker, checkpoint::ReadMarker(store, fleet::StagingRoot(job)));
  CALIPRESS_ASSIGN_OR_RETURN(const bool claimed, claim.IsThere());
  if (!marker || !claimed) return absl::OkStatus();
  CALIPRESS_ASSIGN_OR_RETURN(const bool whole, store.Exists(storage::JoinUri(job.output(), "config.json")));
  if (whole) {
    LogWarning("a checkpoint in the output of a job that did not succeed is left as it is",
               {{"job", job.name()}, {"output", storage::RedactUri(job.output())}});
    return absl::OkStatus();
  }
  for (const std::string& name : *marker) {
    if (name.find('/') != std::string::npos) continue;
    const absl::Status status = store.Delete(storage::JoinUri(job.output(), name));
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  return absl::OkStatus();
}

absl::Status DeleteIfEmpty(storage::ObjectStore& store, const std::string& folder) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store.List(folder));
  return objects.empty() ? store.DeleteFolder(folder) : absl::OkStatus();
}

}  // namespace

absl::Status SweepOutput(storage::ObjectStore& store, const v1::CompressionJob& job, const Clock& clock) {
  const bool succeeded = job.state() == v1::CompressionJob::SUCCEEDED;
  OutputClaim claim(store, job, clock, {});
  if (!succeeded) CALIPRESS_RETURN_IF_ERROR(TakeBack(store, job, claim));
  CALIPRESS_RETURN_IF_ERROR(store.DeleteFolder(fleet::StagingRoot(job)));
  // After the staging folder: a claim without one is stale.
  CALIPRESS_RETURN_IF_ERROR(claim.Remove());
  CALIPRESS_RETURN_IF_ERROR(DeleteIfEmpty(store, storage::JoinUri(job.output(), "_calipress")));
  return succeeded ? absl::OkStatus() : DeleteIfEmpty(store, job.output());
}

}  // namespace calipress::assembly
