#pragma once

#include <string>
#include <vector>

#include "calipress/v1/report.pb.h"

namespace calipress::study {

// The name of the run that is best by its first metric, the first of equals; empty: all failed. A repeated run is none.
std::string BestRun(const std::vector<v1::RunReport>& runs);

// The same among the runs of each method, in the order in which methods first come; those of which all runs failed are
// left out.
std::vector<std::string> BestOfEachMethod(const std::vector<v1::RunReport>& runs);

}  // namespace calipress::study
