#pragma once

#include <string>

#include "calipress/v1/job.pb.h"
#include "google/protobuf/message.h"

namespace calipress::cli {

// One line of JSON in the proto's field names; numbers that are zero are written too, int64 as text (protobuf's rule).
std::string JsonLine(const google::protobuf::Message& message);

// A job; `progress` is always there, so that scripts can read progress.blocks_done of a job that still waits.
std::string JobJsonLine(v1::CompressionJob job);

// What a job came to. A job that only evaluates: {"evaluations": [...]}, with the figures of a single text beside it
// ("perplexity", "kl_divergence", ...), and the job as "job". Any other job: as JobJsonLine.
std::string OutcomeJsonLine(const v1::CompressionJob& job);

}  // namespace calipress::cli
