#include "compress/study/best_run.h"

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

}  // namespace calipress::study
