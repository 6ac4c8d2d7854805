#pragma once

#include <string>

#include "calipress/v1/report.pb.h"

namespace calipress::cli {

// Parts of a report that only `report` shows, as tables; "" where there is nothing.

std::string CalibrationFactsText(const v1::CalibrationReport& calibration);
std::string StudyText(const v1::StudyReport& study);

}  // namespace calipress::cli
