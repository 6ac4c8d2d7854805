#pragma once

#include <string>

#include "calipress/v1/job.pb.h"
#include "google/protobuf/message.h"

namespace calipress::cli {

// One line of JSON in the proto's field names; numbers that are zero are written too, int64 as text (protobuf's rule).
std::string JsonLine(const google::protobuf::Message& message);

// A job; `progress` is always there, so that scripts can read progress.blocks_done of a job that still waits.
std::string JobJsonLine(v1::CompressionJob job);

// What a job came to: as JobJsonLine, and of a job that only evaluates also "evaluations" and "tasks" and, where there
// is one text, its figures ("perplexity", "kl_divergence", ...) at the top.
std::string OutcomeJsonLine(const v1::CompressionJob& job);

}  // namespace calipress::cli
