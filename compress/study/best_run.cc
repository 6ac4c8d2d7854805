#include "compress/study/best_run.h"

#include <map>
#include <utility>

#include "compress/study/metrics.h"
#include "compress/study/summary.h"

namespace calipress::study {

std::string BestRun(const std::vector<v1::RunReport>& runs) {
  std::string best;
  double value = 0.0;
  for (const v1::RunReport& run : runs) {
    if (!run.error().empty() || IsRepeat(run)) continue;
    const Metric metric = MetricsOf(run).front();
    const double comparable = metric.lower_is_better ? metric.value : -metric.value;
    if (!best.empty() && !(comparable < value)) continue;
    best = run.name();
    value = comparable;
  }
  return best;
}

std::vector<std::string> BestOfEachMethod(const std::vector<v1::RunReport>& runs) {
  std::vector<std::string> methods;
  std::map<std::string, std::vector<v1::RunReport>> by_method;
  for (const v1::RunReport& run : runs) {
    std::vector<v1::RunReport>& own = by_method[run.method()];
    if (own.empty()) methods.push_back(run.method());
    own.push_back(run);
  }
  std::vector<std::string> best;
  for (const std::string& method : methods) {
    std::string name = BestRun(by_method[method]);
    if (!name.empty()) best.push_back(std::move(name));
  }
  return best;
}

}  // namespace calipress::study
