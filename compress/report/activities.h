#pragma once

#include <string>

#include "calipress/v1/report.pb.h"

namespace calipress::report {

// "forward 12.1 s, solve 3.0 s": what workers were busy with in a phase, the longest first.
std::string ActivitiesText(const v1::PhaseReport& phase);

}  // namespace calipress::report
