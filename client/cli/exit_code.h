#pragma once

#include "absl/status/status.h"
#include "calipress/v1/job.pb.h"

namespace calipress::cli {

// What scripts rely on.
enum ExitCode : int {
  kDone = 0,
  kJobFailed = 1,  // or was cancelled, or this program could not do its part
  kRefused = 2,    // the request or the command line is wrong
  kServerNotReached = 3,
  kInterrupted = 130,  // Ctrl-C while watching; the job goes on
};

// Of a request that came to nothing.
ExitCode ExitCodeOf(const absl::Status& status);

// Of a job that has ended.
ExitCode ExitCodeOf(v1::CompressionJob::State state);

}  // namespace calipress::cli
