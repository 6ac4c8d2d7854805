#pragma once

#include <string>

#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"

namespace calipress::report {

// The parts of the page, markup each; "" where the report has nothing of it.
extern const char kStyle[];
std::string Headline(const v1::Report& report);
std::string QualitySection(const v1::Report& report);
std::string WarningsSection(const v1::Report& report);
std::string LinearsSection(const v1::Report& report);
std::string CalibrationSection(const v1::CalibrationReport& calibration);
std::string StudySection(const v1::StudyReport& study);
std::string PhasesSection(const v1::Report& report);
std::string JobSection(const v1::CompressionJob& job);
std::string RecipeSection(const v1::CompressionJob& job);

}  // namespace calipress::report
