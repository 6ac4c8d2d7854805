#pragma once

#include <string>

#include "calipress/v1/report.pb.h"

namespace calipress::study {

// A row for every run and metric: run, method, source, draw, weight, metric, value, error. RFC 4180.
std::string RunsCsv(const v1::StudyReport& report);

// A row for every method, source and metric: draws, mean, std, min, max, range. RFC 4180.
std::string StatisticsCsv(const v1::StudyReport& report);

// The same for people, with the comparisons, the failed runs and the null checks.
std::string Markdown(const v1::StudyReport& report);

}  // namespace calipress::study
