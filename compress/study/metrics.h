#pragma once

#include <string>
#include <vector>

#include "calipress/v1/report.pb.h"

namespace calipress::study {

// One figure of a run.
struct Metric {
  std::string name;  // "perplexity stories", "accuracy questions", "relative error"
  double value = 0.0;
  bool lower_is_better = true;
  // Whether it says of two methods which is the better one. A linear's relative error does not: each method has its own
  // measure of it.
  bool comparable = true;
};

// The figures of a run that did not fail, in the order of its report: of every text perplexity, KL, JS and top-1
// agreement, of every task its accuracies, and the mean relative error of the linears.
std::vector<Metric> MetricsOf(const v1::RunReport& run);

}  // namespace calipress::study
