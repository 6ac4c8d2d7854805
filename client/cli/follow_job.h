#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "calipress/v1/job.pb.h"
#include "client/cli/console.h"
#include "client/lib/compression_client.h"

namespace calipress::cli {

// Shows a job's events until it has ended and gives the job. `cancellation` ends it with its status.
absl::StatusOr<v1::CompressionJob> FollowJob(client::CompressionClient* client, const std::string& name,
                                             ProgressView* view, const CancellationToken& cancellation);

// The end of `run` and `submit --wait`: the summary of a job that has ended, or why it failed; with `json`, the job.
// Returns the exit code.
int ShowOutcome(const v1::CompressionJob& job, bool json, const Console& console);

}  // namespace calipress::cli
