#include "server/fleet/staging.h"

#include "absl/strings/str_cat.h"
#include "compress/storage/object_store.h"

namespace calipress::fleet {

std::string StagingRoot(const v1::CompressionJob& job) {
  if (job.output().empty()) return "";
  return storage::JoinUri(job.output(), absl::StrCat("_calipress/", job.uid()));
}

std::string AttemptStaging(const v1::CompressionJob& job, int attempt) {
  if (job.output().empty()) return "";
  return storage::JoinUri(StagingRoot(job), absl::StrCat("attempt-", attempt));
}

std::string CalibrationIdsUri(const v1::CompressionJob& job, int attempt) {
  if (job.output().empty()) return "";
  return storage::JoinUri(AttemptStaging(job, attempt), kCalibrationIdsFile);
}

std::string KeptStaging(const v1::CompressionJob& job, int attempt, int index) {
  if (job.output().empty()) return "";
  return storage::JoinUri(AttemptStaging(job, attempt), absl::StrCat("kept-", index));
}

std::string KeptStateFile(int rank) { return absl::StrCat("rank-", rank, ".pb"); }

}  // namespace calipress::fleet
