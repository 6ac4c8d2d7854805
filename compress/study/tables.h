#pragma once

#include <string>

#include "calipress/v1/report.pb.h"

namespace calipress::study {

// A row for every run and metric: run, method, source, draw, weight, metric, value, error. RFC 4180.
std::string RunsCsv(const v1::StudyReport& report);

// A row for every method, source and metric: draws, mean, std, min, max, range. RFC 4180.
std::string StatisticsCsv(const v1::StudyReport& report);

// A row for every two methods, source and metric: the share of draws in which the first is better. RFC 4180.
std::string ComparisonsCsv(const v1::StudyReport& report);

// All of it for people, with the comparisons, the failed runs and the null checks.
std::string Markdown(const v1::StudyReport& report);

}  // namespace calipress::study
