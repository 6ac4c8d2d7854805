#include "compress/engine/study_keep.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include <ATen/ops/zeros.h>
#include "absl/strings/str_cat.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "compress/collective/group.h"
#include "compress/engine/model_phases.h"
#include "compress/engine/phase_sums.h"
#include "compress/recipe/loader_warnings.h"
#include "compress/study/best_run.h"

namespace calipress::engine {
namespace {

using recipe::StudyRun;
using Chosen = std::vector<const StudyRun*>;

// Which runs failed on no rank: what the last one measured of the others is of no model that exists.
absl::StatusOr<std::vector<v1::RunReport>> EndedWell(StageContext& context, const FinishedStudy& study) {
  at::Tensor failed = at::zeros({static_cast<int64_t>(study.runs.size())}, at::kLong);
  std::map<std::string, v1::RunReport> known;
  for (const v1::RunReport& run : study.told) known[run.name()] = run;
  for (const auto& run : context.assignment.finished_runs()) known[run.report().name()] = run.report();
  for (const StudyRun& run : study.runs) {
    if (!known[run.name].error().empty()) failed[run.index] = 1;
  }
  failed = failed.to(context.device);
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.AllReduceMax(failed));
  failed = failed.cpu();
  std::vector<v1::RunReport> well;
  for (const StudyRun& run : study.runs) {
    if (failed[run.index].item<int64_t>() == 0 && !run.repeat) well.push_back(known[run.name]);
  }
  return well;
}

// What of study.keep nothing is left of.
void WarnOfMissing(StageContext& context, const std::vector<v1::RunReport>& well) {
  if (well.empty()) return;  // the job fails with what was wrong
  const v1::Study& study = context.recipe().study();
  const auto any = [&](auto matches) { return std::any_of(well.begin(), well.end(), matches); };
  const auto warn = [&](const auto&... parts) { context.outcome.add_warnings(absl::StrCat("study.keep: ", parts...)); };
  for (const std::string& entry : study.keep()) {
    if (entry == recipe::kKeepBest) continue;  // there is one
    if (entry == recipe::kKeepBestOfEach) {
      for (const v1::StudyMethod& method : study.methods()) {
        const bool found = any([&](const v1::RunReport& run) { return run.method() == method.name(); });
        if (!found) warn("no run of ", method.name(), " ended well; none of it is kept");
      }
    } else if (!any([&](const v1::RunReport& run) { return run.name() == entry; })) {
      warn(entry, " failed; it is not kept");
    }
  }
}

// In the order of the runs, each once, the same on every rank.
absl::StatusOr<Chosen> Choose(StageContext& context, const FinishedStudy& study) {
  Chosen chosen;
  if (recipe::MostKept(context.recipe().study()) == 0) return chosen;
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<v1::RunReport> well, EndedWell(context, study));
  std::set<std::string> names;
  for (const std::string& entry : context.recipe().study().keep()) {
    // The last rank has the evaluations of this attempt's runs; of earlier ones everybody was told.
    if (entry == recipe::kKeepBest) {
      if (context.last()) names.insert(study::BestRun(well));
    } else if (entry == recipe::kKeepBestOfEach) {
      if (!context.last()) continue;
      for (const std::string& name : study::BestOfEachMethod(well)) names.insert(name);
    } else if (std::any_of(well.begin(), well.end(), [&](const auto& run) { return run.name() == entry; })) {
      names.insert(entry);
    }
  }
  at::Tensor marks = at::zeros({static_cast<int64_t>(study.runs.size())}, at::kLong);
  for (const StudyRun& run : study.runs) {
    if (!run.repeat && names.contains(run.name)) marks[run.index] = 1;
  }
  marks = marks.to(context.device);
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.AllReduceMax(marks));
  marks = marks.cpu();
  for (const StudyRun& run : study.runs) {
    if (marks[run.index].item<int64_t>() != 0) chosen.push_back(&run);
  }
  if (context.leader()) WarnOfMissing(context, well);
  return chosen;
}

// Hears of one kept run. Where it is the only one its blocks and phases are the job's.
class KeptObserver : public StageObserver {
 public:
  KeptObserver(StageObserver& study, const StudyRun& run, size_t place, size_t count)
      : study_(study), run_(run), place_(static_cast<double>(place)), count_(static_cast<double>(count)) {}

  void OnProgress(const std::string& phase, double fraction, const std::string& message) override {
    study_.OnProgress(kKeepPhase, (place_ + RecipeFraction(phase, fraction)) / count_,
                      absl::StrCat(run_.name, ": ", message));
  }
  void OnBlockFinished(const worker::v1::FinishedBlock& block) override {
    if (count_ == 1) return study_.OnBlockFinished(block);
    std::scoped_lock lock(mutex_);
    blocks_[block.index()] = block;
  }
  void OnPhaseFinished(const v1::PhaseReport& phase) override {
    if (count_ == 1) return study_.OnPhaseFinished(phase);
    phases_.push_back(phase);
  }

  std::map<int, worker::v1::FinishedBlock> blocks() {
    std::scoped_lock lock(mutex_);
    return blocks_;
  }
  const std::vector<v1::PhaseReport>& phases() const { return phases_; }

 private:
  StageObserver& study_;
  const StudyRun& run_;
  const double place_, count_;
  std::vector<v1::PhaseReport> phases_;
  std::mutex mutex_;
  std::map<int, worker::v1::FinishedBlock> blocks_;
};

// The run as an assignment of its own, in the same staging folder.
worker::v1::Assignment OfRun(const StageContext& context, const FinishedStudy& study, const StudyRun& run) {
  worker::v1::Assignment assignment = context.assignment;
  *assignment.mutable_recipe() = run.recipe;
  assignment.clear_finished_runs();
  assignment.clear_kept_runs();
  const std::string set = recipe::CalibrationSetFile(run.source, run.draw);
  if (study.sets.contains(set)) {
    assignment.set_calibration_ids_uri(storage::JoinUri(assignment.shared_staging_uri(), set));
  }
  return assignment;
}

// What there is to say of a checkpoint, beside what its phases say.
void Warn(const StageContext& context, const StudyRun& run, worker::v1::StageOutcome* outcome) {
  if (!context.leader()) return;
  for (const std::string& warning : recipe::LoaderWarnings(run.recipe, context.spec())) outcome->add_warnings(warning);
}

StageContext ContextOf(StageContext& context, const worker::v1::Assignment& assignment, StageObserver& observer) {
  return {assignment, context.environment, observer, context.cancellation, context.device, context.model, {}, {},
          nullptr};
}

absl::Status KeepAlone(StageContext& context, const FinishedStudy& study, const StudyRun& run) {
  const worker::v1::Assignment assignment = OfRun(context, study, run);
  KeptObserver observer(context.observer, run, 0, 1);
  StageContext of_run = ContextOf(context, assignment, observer);
  CALIPRESS_RETURN_IF_ERROR(RunRecipe(of_run));
  worker::v1::StageOutcome outcome = std::move(of_run.outcome);
  Warn(context, run, &outcome);
  outcome.mutable_warnings()->MergeFrom(context.outcome.warnings());
  outcome.set_peak_memory_bytes(std::max(context.outcome.peak_memory_bytes(), outcome.peak_memory_bytes()));
  context.outcome = std::move(outcome);
  return absl::OkStatus();
}

// One of several. Only its shards, ids and the like stay.
absl::Status KeepBeside(StageContext& context, const FinishedStudy& study, const StudyRun& run,
                        KeptObserver& observer) {
  worker::v1::Assignment assignment = OfRun(context, study, run);
  // Of a run that is kept alone.
  assignment.clear_finished_blocks();
  const std::string folder = storage::JoinUri(assignment.staging_uri(), absl::StrCat("kept-", run.index));
  assignment.set_staging_uri(folder);
  StageContext of_run = ContextOf(context, assignment, observer);
  CALIPRESS_RETURN_IF_ERROR(RunRecipe(of_run));
  Warn(context, run, &of_run.outcome);
  context.outcome.set_peak_memory_bytes(
      std::max(context.outcome.peak_memory_bytes(), of_run.outcome.peak_memory_bytes()));
  worker::v1::StageState state;
  *state.mutable_outcome() = std::move(of_run.outcome);
  // A message with a malformed string could not be read again.
  for (std::string& warning : *state.mutable_outcome()->mutable_warnings()) warning = BoundedText(warning);
  state.mutable_phases()->Add(observer.phases().begin(), observer.phases().end());
  const auto blocks = observer.blocks();
  for (const auto& [index, block] : blocks) *state.add_finished_blocks() = block;
  CALIPRESS_RETURN_IF_ERROR(context.store().WriteAll(
      storage::JoinUri(folder, absl::StrCat("rank-", context.rank(), ".pb")), state.SerializeAsString()));
  // All ranks have written what they have of it, and read each other's blocks.
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.Barrier());
  worker::v1::KeptRun kept;
  kept.set_index(run.index);
  kept.set_attempt(assignment.attempt());
  kept.set_world_size(context.world_size());
  context.observer.OnRunKept(kept);
  for (const auto& [index, block] : blocks) CALIPRESS_RETURN_IF_ERROR(context.store().Delete(block.uri()));
  return absl::OkStatus();
}

absl::Status KeepSeveral(StageContext& context, const FinishedStudy& study, const Chosen& chosen, PhaseSums& sums) {
  std::set<int> written;
  for (const worker::v1::KeptRun& kept : context.assignment.kept_runs()) written.insert(kept.index());
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (written.contains(chosen[i]->index)) continue;
    CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
    KeptObserver observer(context.observer, *chosen[i], i, chosen.size());
    CALIPRESS_RETURN_IF_ERROR(KeepBeside(context, study, *chosen[i], observer));
    for (const v1::PhaseReport& phase : observer.phases()) sums.Add(phase);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status KeepRuns(StageContext& context, const FinishedStudy& study) {
  CALIPRESS_ASSIGN_OR_RETURN(const Chosen chosen, Choose(context, study));
  if (chosen.empty()) return absl::OkStatus();
  PhaseSums sums;
  CALIPRESS_RETURN_IF_ERROR(RunPhase(context, kKeepPhase, [&] {
    return chosen.size() == 1 ? KeepAlone(context, study, *chosen.front()) : KeepSeveral(context, study, chosen, sums);
  }));
  sums.Tell(kKeepPhase, context.observer);
  for (const StudyRun* run : chosen) context.outcome.add_kept_runs(run->name);
  return absl::OkStatus();
}

}  // namespace calipress::engine
