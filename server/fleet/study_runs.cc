#include "server/fleet/study_runs.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/recipe/study.h"
#include "compress/study/summary.h"

namespace calipress::fleet {
namespace {

using worker::v1::FinishedRun;

// `parts` are of one run, in rank order.
FinishedRun Join(const std::vector<const FinishedRun*>& parts) {
  FinishedRun joined;
  joined.set_index(parts.front()->index());
  v1::RunReport& report = *joined.mutable_report();
  report = parts.front()->report();
  report.clear_evaluations();
  report.clear_tasks();
  report.clear_warnings();
  Sha256 digest;
  double errors = 0.0;
  for (const FinishedRun* part : parts) {
    const v1::RunReport& own = part->report();
    if (report.error().empty()) {
      report.set_error(own.error());
      report.set_error_reason(own.error_reason());
    }
    report.mutable_evaluations()->MergeFrom(own.evaluations());
    report.mutable_tasks()->MergeFrom(own.tasks());
    report.mutable_warnings()->MergeFrom(own.warnings());
    if (own.has_calibration() && !report.has_calibration()) *report.mutable_calibration() = own.calibration();
    report.set_seconds(std::max(report.seconds(), own.seconds()));
    errors += own.relative_error() * part->linears();
    joined.set_linears(joined.linears() + part->linears());
    for (const std::string& block : part->block_fingerprints()) digest.Update(block.data(), block.size());
  }
  if (!report.error().empty()) {
    // What the other ranks measured is not of a model that exists.
    report.clear_evaluations();
    report.clear_tasks();
    report.clear_relative_error();
    return joined;
  }
  report.set_relative_error(joined.linears() > 0 ? errors / joined.linears() : 0.0);
  report.set_fingerprint(digest.Finish());
  return joined;
}

}  // namespace

std::vector<FinishedRun> JoinRuns(const std::vector<worker::v1::StageState>& ranks) {
  std::map<int, std::vector<const FinishedRun*>> by_index;
  for (const worker::v1::StageState& rank : ranks) {
    for (const FinishedRun& run : rank.finished_runs()) by_index[run.index()].push_back(&run);
  }
  std::vector<FinishedRun> joined;
  for (const auto& [index, parts] : by_index) {
    if (parts.size() == ranks.size()) joined.push_back(Join(parts));
  }
  return joined;
}

void AddRuns(const std::vector<worker::v1::StageState>& ranks, worker::v1::StageState* total) {
  for (FinishedRun& run : JoinRuns(ranks)) {
    const bool known = std::any_of(total->finished_runs().begin(), total->finished_runs().end(),
                                   [&](const FinishedRun& other) { return other.index() == run.index(); });
    if (!known) *total->add_finished_runs() = std::move(run);
  }
}

void AddKept(const std::vector<worker::v1::StageState>& ranks, int attempt, worker::v1::StageState* total) {
  std::map<int, size_t> told;
  for (const worker::v1::StageState& rank : ranks) {
    std::set<int> own;
    for (const worker::v1::KeptRun& run : rank.kept_runs()) own.insert(run.index());
    for (const int index : own) ++told[index];
  }
  for (const auto& [index, times] : told) {
    const bool known = std::any_of(total->kept_runs().begin(), total->kept_runs().end(),
                                   [&](const worker::v1::KeptRun& run) { return run.index() == index; });
    if (times < ranks.size() || known) continue;
    worker::v1::KeptRun* kept = total->add_kept_runs();
    kept->set_index(index);
    kept->set_attempt(attempt);
    kept->set_world_size(static_cast<int>(ranks.size()));
  }
}

absl::Status CheckAnyRun(const v1::StudyReport& study) {
  const auto& runs = study.runs();
  const auto failed = [](const v1::RunReport& run) { return !run.error().empty(); };
  if (runs.empty() || !std::all_of(runs.begin(), runs.end(), failed)) return absl::OkStatus();
  // What most runs say may differ in a name alone; the first one stands for them.
  return UserError(runs[0].error_reason(), absl::StrCat("none of the study's ", runs.size(), " runs ended well; ",
                                                        runs[0].name(), ": ", runs[0].error()));
}

v1::StudyReport ReportOfRuns(const std::vector<worker::v1::StageState>& ranks, const worker::v1::StageState& earlier) {
  worker::v1::StageState all;
  *all.mutable_finished_runs() = earlier.finished_runs();
  AddRuns(ranks, &all);
  std::map<int, const FinishedRun*> in_order;
  for (const FinishedRun& run : all.finished_runs()) in_order[run.index()] = &run;
  v1::StudyReport report;
  for (const auto& [index, run] : in_order) *report.add_runs() = run->report();
  // Every rank says the same.
  if (!ranks.empty()) *report.mutable_kept() = ranks.front().outcome().kept_runs();
  for (v1::RunReport& run : *report.mutable_runs()) {
    if (std::find(report.kept().begin(), report.kept().end(), run.name()) == report.kept().end()) continue;
    run.set_checkpoint(report.kept_size() == 1 ? "." : recipe::RunFolder(run.name()));
  }
  study::Summarize(&report);
  return report;
}

}  // namespace calipress::fleet
