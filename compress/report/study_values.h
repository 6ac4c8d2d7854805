#pragma once

#include <string>
#include <vector>

#include "calipress/v1/report.pb.h"

namespace calipress::report {

// What one method came to on the draws of one source, in one metric.
struct StudyGroup {
  std::string method;
  std::string label;           // its source, with the domain's weight where one is swept
  std::vector<double> values;  // finite, in rising order; of the runs that did not fail
};

// The metrics worth a picture, in the order of the statistics: every text's perplexity and every task's accuracy, a few
// at most; where there are none, the first metric.
std::vector<std::string> PlottedMetrics(const v1::StudyReport& study);

// The groups that the statistics have of a metric (study/metrics.h names them), in their order but for those of one
// method, which stand together; those without a value are left out.
std::vector<StudyGroup> StudyGroups(const v1::StudyReport& study, const std::string& metric);

// A run for each calibration set, in their order: runs of one source and draw have the same. The study outlives them.
std::vector<const v1::RunReport*> RunsOfSets(const v1::StudyReport& study);

// Of values in rising order, at least one: between neighbours in a straight line (numpy's default).
double Quantile(const std::vector<double>& values, double share);

}  // namespace calipress::report
