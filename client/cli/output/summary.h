#pragma once

#include <string>

#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"

namespace calipress::cli {

// What a finished job did, for people: sizes, a line per text, task and domain, a line per phase, warnings. Ends with a
// line end.
std::string ReportText(const v1::Report& report);

// The same with everything that report.html has: blocks, the worst linears, the calibration data, a study. (The recipe
// is the job's.)
std::string FullReportText(const v1::Report& report);

// A job as `get` shows it: state, where from and to, progress, error.
std::string JobText(const v1::CompressionJob& job);

}  // namespace calipress::cli
