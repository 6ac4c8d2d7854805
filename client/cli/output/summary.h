#pragma once

#include <string>

#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"

namespace calipress::cli {

// What a finished job did, for people: sizes, a line per text, a line per phase, warnings. Ends with a line end.
std::string ReportText(const v1::Report& report);

// The texts alone, for `eval`.
std::string EvaluationText(const v1::Report& report);

// A job as `get` shows it: state, where from and to, progress, error.
std::string JobText(const v1::CompressionJob& job);

}  // namespace calipress::cli
