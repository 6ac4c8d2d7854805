#include "server/fleet/report_merge.h"

#include <algorithm>
#include <set>
#include <string>

namespace calipress::fleet {
namespace {

v1::PhaseReport* FindOrAdd(const std::string& name, worker::v1::StageState* total) {
  for (v1::PhaseReport& phase : *total->mutable_phases()) {
    if (phase.name() == name) return &phase;
  }
  v1::PhaseReport* phase = total->add_phases();
  phase->set_name(name);
  return phase;
}

void AddActivities(const v1::PhaseReport& from, v1::PhaseReport* to) {
  for (const auto& [activity, seconds] : from.activities()) (*to->mutable_activities())[activity] += seconds;
}

}  // namespace

void AddPhases(const std::vector<worker::v1::StageState>& ranks, worker::v1::StageState* total) {
  worker::v1::StageState attempt;
  for (const worker::v1::StageState& rank : ranks) {
    for (const v1::PhaseReport& phase : rank.phases()) {
      v1::PhaseReport* merged = FindOrAdd(phase.name(), &attempt);
      merged->set_seconds(std::max(merged->seconds(), phase.seconds()));
      merged->set_peak_memory_bytes(std::max(merged->peak_memory_bytes(), phase.peak_memory_bytes()));
      AddActivities(phase, merged);
    }
  }
  for (const v1::PhaseReport& phase : attempt.phases()) {
    v1::PhaseReport* sum = FindOrAdd(phase.name(), total);
    sum->set_seconds(sum->seconds() + phase.seconds());
    sum->set_peak_memory_bytes(std::max(sum->peak_memory_bytes(), phase.peak_memory_bytes()));
    AddActivities(phase, sum);
  }
}

v1::Report MergeReports(const std::vector<worker::v1::StageState>& ranks, const worker::v1::StageState& earlier,
                        const std::vector<worker::v1::FinishedBlock>& blocks) {
  v1::Report report;
  worker::v1::StageState phases = earlier;
  AddPhases(ranks, &phases);
  *report.mutable_phases() = phases.phases();
  for (const worker::v1::FinishedBlock& block : blocks) report.mutable_linears()->MergeFrom(block.linears());
  int64_t peak = 0;
  for (const v1::PhaseReport& phase : phases.phases()) peak = std::max(peak, phase.peak_memory_bytes());
  std::set<std::string> seen;
  for (const worker::v1::StageState& rank : ranks) {
    const worker::v1::StageOutcome& outcome = rank.outcome();
    report.mutable_evaluations()->MergeFrom(outcome.evaluations());
    report.mutable_tasks()->MergeFrom(outcome.tasks());
    report.mutable_layer_ratios()->MergeFrom(outcome.layer_ratios());
    if (outcome.has_calibration() && !report.has_calibration()) *report.mutable_calibration() = outcome.calibration();
    for (const std::string& warning : outcome.warnings()) {
      if (seen.insert(warning).second) report.add_warnings(warning);
    }
    peak = std::max(peak, outcome.peak_memory_bytes());
  }
  report.set_peak_memory_bytes(peak);
  return report;
}

}  // namespace calipress::fleet
