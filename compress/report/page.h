#pragma once

#include <string>

#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"

namespace calipress::report {

// The report of a job as an HTML page in UTF-8 that stands on its own. `report` is used and not job.report(), which is
// there only once the job has ended. Credentials in URIs are left out.
std::string ReportPage(const v1::CompressionJob& job, const v1::Report& report);

}  // namespace calipress::report
