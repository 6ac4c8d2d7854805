#include "compress/report/study_values.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compress/study/metrics.h"

namespace calipress::report {
namespace {

std::optional<double> ValueOf(const v1::RunReport& run, const std::string& name) {
  for (const study::Metric& metric : study::MetricsOf(run)) {
    if (metric.name == name) return metric.value;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> PlottedMetrics(const v1::StudyReport& study) {
  constexpr size_t kMost = 8;
  std::vector<std::string> metrics;
  for (const v1::StudyStatistic& statistic : study.statistics()) {
    const std::string& name = statistic.metric();
    const bool figure = name.starts_with("perplexity ") || name.starts_with("accuracy ");
    if (!figure || metrics.size() == kMost) continue;
    if (std::find(metrics.begin(), metrics.end(), name) == metrics.end()) metrics.push_back(name);
  }
  if (metrics.empty() && study.statistics_size() > 0) metrics.push_back(study.statistics(0).metric());
  return metrics;
}

std::vector<StudyGroup> StudyGroups(const v1::StudyReport& study, const std::string& metric) {
  std::vector<StudyGroup> groups;
  for (const v1::StudyStatistic& statistic : study.statistics()) {
    if (statistic.metric() != metric) continue;
    StudyGroup group{statistic.method(), statistic.source(), {}};
    if (statistic.has_domain_weight()) absl::StrAppendFormat(&group.label, ", weight %g", statistic.domain_weight());
    for (const v1::RunReport& run : study.runs()) {
      const bool same = run.method() == statistic.method() && run.source() == statistic.source() &&
                        run.has_domain_weight() == statistic.has_domain_weight() &&
                        run.domain_weight() == statistic.domain_weight();
      if (!same || !run.error().empty()) continue;
      const auto value = ValueOf(run, metric);
      if (value && std::isfinite(*value)) group.values.push_back(*value);
    }
    std::sort(group.values.begin(), group.values.end());
    if (group.values.empty()) continue;
    const auto last = std::find_if(groups.rbegin(), groups.rend(),
                                   [&](const StudyGroup& other) { return other.method == group.method; });
    groups.insert(last == groups.rend() ? groups.end() : last.base(), std::move(group));
  }
  return groups;
}

std::vector<const v1::RunReport*> RunsOfSets(const v1::StudyReport& study) {
  std::vector<const v1::RunReport*> runs;
  std::set<std::pair<std::string, int>> known;
  for (const v1::RunReport& run : study.runs()) {
    if (run.has_calibration() && known.emplace(run.source(), run.draw()).second) runs.push_back(&run);
  }
  return runs;
}

double Quantile(const std::vector<double>& values, double share) {
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace calipress::report
