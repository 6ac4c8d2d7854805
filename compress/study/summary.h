#pragma once

#include "calipress/v1/report.pb.h"

namespace calipress::study {

// Whether the run is the first one done again, whose bytes are compared and whose figures are not counted.
bool IsRepeat(const v1::RunReport& run);

// Fills in what the runs of a report say together (methods.md 8.3): mean, standard deviation (n - 1), least and largest
// of every metric over the draws of one method and source; for every two methods the share of draws in which the first
// is better; and whether a repeated run gave the same bytes. Runs that failed are left out.
void Summarize(v1::StudyReport* report);

}  // namespace calipress::study
