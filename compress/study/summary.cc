#include "compress/study/summary.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "compress/study/metrics.h"

namespace calipress::study {
namespace {

// Runs that differ in their draw (and seed) alone.
struct Cell {
  std::string method, source;
  std::optional<double> weight;
  std::map<int, std::vector<Metric>> draws;
};

template <typename Message>
void SetCell(const Cell& cell, Message* message) {
  message->set_method(cell.method);
  message->set_source(cell.source);
  if (cell.weight) message->set_domain_weight(*cell.weight);
}

// In the order of the runs.
std::vector<Cell> Cells(const v1::StudyReport& report) {
  std::vector<Cell> cells;
  for (const v1::RunReport& run : report.runs()) {
    if (!run.error().empty() || IsRepeat(run)) continue;
    const std::optional<double> weight =
        run.has_domain_weight() ? std::optional<double>(run.domain_weight()) : std::nullopt;
    auto cell = std::find_if(cells.begin(), cells.end(), [&](const Cell& candidate) {
      return candidate.method == run.method() && candidate.source == run.source() && candidate.weight == weight;
    });
    if (cell == cells.end()) cell = cells.insert(cells.end(), {run.method(), run.source(), weight, {}});
    cell->draws[run.draw()] = MetricsOf(run);
  }
  return cells;
}

void AddStatistics(const Cell& cell, v1::StudyReport* report) {
  const std::vector<Metric>& names = cell.draws.begin()->second;
  for (size_t metric = 0; metric < names.size(); ++metric) {
    std::vector<double> values;
    for (const auto& [draw, metrics] : cell.draws) values.push_back(metrics.at(metric).value);
    const double count = static_cast<double>(values.size());
    double sum = 0.0, squares = 0.0;
    for (const double value : values) sum += value;
    const double mean = sum / count;
    for (const double value : values) squares += (value - mean) * (value - mean);
    v1::StudyStatistic* statistic = report->add_statistics();
    SetCell(cell, statistic);
    statistic->set_metric(names[metric].name);
    statistic->set_draws(static_cast<int32_t>(values.size()));
    statistic->set_min(*std::min_element(values.begin(), values.end()));
    statistic->set_max(*std::max_element(values.begin(), values.end()));
    // Equal values have no spread, whatever their sum is rounded to.
    const bool spread = statistic->min() != statistic->max();
    statistic->set_mean(spread ? mean : values.front());
    statistic->set_range(statistic->max() - statistic->min());
    statistic->set_standard_deviation(spread ? std::sqrt(squares / (count - 1.0)) : 0.0);
  }
}

// Over the draws that both have.
void Compare(const Cell& cell, const Cell& other, v1::StudyReport* report) {
  const std::vector<Metric>& names = cell.draws.begin()->second;
  for (size_t metric = 0; metric < names.size(); ++metric) {
    if (!names[metric].comparable) continue;
    int draws = 0;
    double better = 0.0;
    for (const auto& [draw, metrics] : cell.draws) {
      const auto against = other.draws.find(draw);
      if (against == other.draws.end()) continue;
      ++draws;
      const double own = metrics.at(metric).value, theirs = against->second.at(metric).value;
      better += own == theirs ? 0.5 : (own < theirs) == names[metric].lower_is_better ? 1.0 : 0.0;
    }
    if (draws == 0) continue;
    v1::StudyComparison* comparison = report->add_comparisons();
    SetCell(cell, comparison);
    comparison->set_other(other.method);
    comparison->set_metric(names[metric].name);
    comparison->set_draws(draws);
    comparison->set_share_better(better / draws);
  }
}

// Of the methods that take no calibration data and ran more than once; nothing where there are none.
std::optional<bool> UncalibratedEqual(const v1::StudyReport& report) {
  std::map<std::string, const v1::RunReport*> first;
  std::optional<bool> equal;
  for (const v1::RunReport& run : report.runs()) {
    if (run.has_calibration() || !run.error().empty() || IsRepeat(run)) continue;
    const auto [known, fresh] = first.emplace(run.method(), &run);
    if (!fresh) equal = equal.value_or(true) && known->second->fingerprint() == run.fingerprint();
  }
  return equal;
}

}  // namespace

bool IsRepeat(const v1::RunReport& run) { return absl::EndsWith(run.name(), "/repeat"); }

void Summarize(v1::StudyReport* report) {
  report->clear_statistics();
  report->clear_comparisons();
  report->clear_repeat_equal();
  report->clear_uncalibrated_equal();
  const std::vector<Cell> cells = Cells(*report);
  for (const Cell& cell : cells) AddStatistics(cell, report);
  for (size_t i = 0; i < cells.size(); ++i) {
    for (size_t j = i + 1; j < cells.size(); ++j) {
      if (cells[i].source == cells[j].source && cells[i].weight == cells[j].weight) Compare(cells[i], cells[j], report);
    }
  }
  if (const auto equal = UncalibratedEqual(*report)) report->set_uncalibrated_equal(*equal);
  for (const v1::RunReport& run : report->runs()) {
    if (!IsRepeat(run) || !run.error().empty()) continue;
    for (const v1::RunReport& first : report->runs()) {
      if (first.name() + "/repeat" != run.name() || !first.error().empty()) continue;
      report->set_repeat_equal(first.fingerprint() == run.fingerprint());
    }
  }
}

}  // namespace calipress::study
