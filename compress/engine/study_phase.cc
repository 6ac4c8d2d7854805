#include "compress/engine/study_phase.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <ATen/ops/zeros.h>
#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/collective/buffered_group.h"
#include "compress/engine/compress_phase.h"
#include "compress/engine/evaluate_phase.h"
#include "compress/engine/model_phases.h"
#include "compress/engine/phase_sums.h"
#include "compress/engine/stage_blocks.h"
#include "compress/engine/study_keep.h"
#include "compress/recipe/study.h"

namespace calipress::engine {
namespace {

// Hears of one run, and tells of the study.
class RunObserver : public StageObserver {
 public:
  RunObserver(StageObserver& study, PhaseSums& sums, std::string name, int index, size_t runs)
      : study_(study), sums_(sums), name_(std::move(name)), index_(index), runs_(static_cast<double>(runs)) {}

  void OnProgress(const std::string& phase, double fraction, const std::string& message) override {
    study_.OnProgress(kStudyPhase, (index_ + RecipeFraction(phase, fraction)) / runs_,
                      absl::StrCat(name_, ": ", message));
  }
  void OnBlockFinished(const worker::v1::FinishedBlock& block) override {
    std::scoped_lock lock(mutex_);
    blocks_[block.index()] = block;
  }
  void OnPhaseFinished(const v1::PhaseReport& phase) override { sums_.Add(phase); }

  std::map<int, worker::v1::FinishedBlock> blocks() {
    std::scoped_lock lock(mutex_);
    return blocks_;
  }

 private:
  StageObserver& study_;
  PhaseSums& sums_;
  const std::string name_;
  const int index_;
  const double runs_;
  std::mutex mutex_;
  std::map<int, worker::v1::FinishedBlock> blocks_;
};

// A run on its way through this stage.
struct ActiveRun {
  ActiveRun(StageContext& study, StageEnvironment& environment, const StudySetting& setting, PhaseSums& sums,
            const recipe::StudyRun& what, size_t runs)
      : run(what),
        assignment(RunAssignment(study.assignment, what)),
        observer(study.observer, sums, what.name, what.index, runs),
        context{assignment, environment, observer, study.cancellation, study.device, study.model, {}, {}, &setting} {}

  static worker::v1::Assignment RunAssignment(const worker::v1::Assignment& study, const recipe::StudyRun& run) {
    worker::v1::Assignment assignment = study;
    *assignment.mutable_recipe() = run.recipe;
    assignment.clear_finished_runs();
    assignment.clear_kept_runs();
    // Both are of the run that is kept.
    assignment.clear_finished_blocks();
    assignment.clear_calibration_ids_uri();
    assignment.set_staging_uri(storage::JoinUri(study.staging_uri(), absl::StrCat("run-", run.index)));
    return assignment;
  }

  // What of a failure is the run's own is kept here; the rest ends the study.
  absl::Status Own(const absl::Status& status) {
    if (!EndsRunAlone(context, status)) return status;
    failure = status;
    return absl::OkStatus();
  }

  const recipe::StudyRun& run;
  worker::v1::Assignment assignment;
  RunObserver observer;
  StageContext context;
  std::optional<StepMethods> methods;
  SharedTokens tokens;
  bool has_tokens = false;
  bool prepared = false;  // on all ranks
  absl::Status failure;
  double seconds = 0.0;
};

// Runs of one source and draw have the same calibration tokens.
std::string SetFile(const recipe::StudyRun& run) { return recipe::CalibrationSetFile(run.source, run.draw); }

// The repeated run has a draw of its own, made again from the same seed.
std::string TokensKey(const recipe::StudyRun& run) { return absl::StrCat(SetFile(run), run.repeat ? "/repeat" : ""); }

using Batch = std::vector<std::unique_ptr<ActiveRun>>;

// Runs that are solved for from one pass, at most: their files lie in the staging folder together.
constexpr size_t kBatchRuns = 64;

class Study {
 public:
  explicit Study(StageContext& context)
      : context_(context),
        runs_(recipe::StudyRuns(context.recipe())),
        // A stage may be a run or more ahead of the next one.
        group_(context.environment.group, context.environment.memory_budget / 4),
        environment_{context.environment.store, group_, context.environment.device, context.environment.memory_budget},
        source_(*context.model, context.environment.memory_budget / 4),
        setting_{source_} {}

  absl::Status Run();

 private:
  // Calibration tokens of one source and draw, which all of their runs share.
  struct Tokens {
    absl::Status status;
    SharedTokens shared;
    v1::CalibrationReport report;
  };

  // Before the first run: what asks the model keeps all stages in step, and in a pipeline that costs a run's time.
  absl::Status MakeTokens();
  absl::Status TakeOriginal();
  // Tells every rank which sets an earlier attempt has left.
  absl::Status FindSets();
  std::vector<std::vector<const recipe::StudyRun*>> Batches() const;
  absl::Status RunBatch(const std::vector<const recipe::StudyRun*>& runs);
  absl::Status Prepare(ActiveRun& active);
  absl::Status Compress(Batch& batch);
  absl::Status Tell(ActiveRun& active);

  StageContext& context_;
  const std::vector<recipe::StudyRun> runs_;
  collective::BufferedGroup group_;
  StageEnvironment environment_;
  OriginalBlocks source_;
  StudySetting setting_;
  Measurements original_;  // of the original model, where runs need not measure it themselves
  PhaseSums sums_;
  std::map<std::string, Tokens> tokens_;
  std::set<std::string> sets_;       // staged calibration sets (recipe::CalibrationSetFile)
  std::vector<v1::RunReport> told_;  // what this rank knows of finished runs
};

// Unfinished runs, together where one pass of the original model serves them all.
std::vector<std::vector<const recipe::StudyRun*>> Study::Batches() const {
  std::vector<bool> finished(runs_.size(), false);
  for (const auto& run : context_.assignment.finished_runs()) {
    if (run.index() >= 0 && run.index() < static_cast<int>(finished.size())) finished[run.index()] = true;
  }
  const bool together = context_.recipe().propagation() == v1::PROPAGATION_ORIGINAL;
  std::vector<std::vector<const recipe::StudyRun*>> batches;
  for (const recipe::StudyRun& run : runs_) {
    if (finished[run.index]) continue;
    const bool joins = together && !batches.empty() && batches.back().size() < kBatchRuns && !run.repeat &&
                       batches.back().front()->source == run.source && batches.back().front()->draw == run.draw;
    if (!joins) batches.emplace_back();
    batches.back().push_back(&run);
  }
  return batches;
}

absl::Status Study::FindSets() {
  const std::string& shared = context_.assignment.shared_staging_uri();
  if (shared.empty()) return absl::OkStatus();
  at::Tensor found = at::zeros({static_cast<int64_t>(runs_.size())}, at::kLong);
  if (context_.leader()) {
    for (const recipe::StudyRun& run : runs_) {
      const bool again = run.index > 0 && SetFile(runs_[run.index - 1]) == SetFile(run);
      bool exists = again && found[run.index - 1].item<int64_t>() != 0;
      if (!again) {
        CALIPRESS_ASSIGN_OR_RETURN(exists, context_.store().Exists(storage::JoinUri(shared, SetFile(run))));
      }
      if (exists) found[run.index] = 1;
    }
  }
  found = found.to(context_.device);
  CALIPRESS_RETURN_IF_ERROR(context_.environment.group.AllReduceMax(found));
  found = found.cpu();
  for (const recipe::StudyRun& run : runs_) {
    if (found[run.index].item<int64_t>() != 0) sets_.insert(SetFile(run));
  }
  return absl::OkStatus();
}

absl::Status Study::MakeTokens() {
  CALIPRESS_RETURN_IF_ERROR(FindSets());
  const std::string& shared = context_.assignment.shared_staging_uri();
  for (const auto& batch : Batches()) {
    for (const recipe::StudyRun* run : batch) {
      CALIPRESS_ASSIGN_OR_RETURN(const StepMethods methods, StepMethods::Make(run->recipe));
      ActiveRun active(context_, environment_, setting_, sums_, *run, runs_.size());
      if (!NeedsTokens(active.context, methods) || tokens_.contains(TokensKey(*run))) continue;
      const std::string set = SetFile(*run);
      CalibrationPlace place;
      // The repeated run's set is compared with the one that is there.
      const bool staged = !shared.empty() && !run->repeat;
      if (staged) place = {storage::JoinUri(shared, set), set};
      if (staged && sets_.contains(set)) active.assignment.set_calibration_ids_uri(place.ids_uri);
      Tokens made;
      made.status = TokensPhase(active.context, place, &made.shared);
      if (made.status.ok() && staged) sets_.insert(set);
      // Rank 0 fails, and tells the others so: nobody has these tokens.
      if (!made.status.ok() && !EndsRunAlone(active.context, made.status)) return made.status;
      made.report = active.context.outcome.calibration();
      tokens_[TokensKey(*run)] = std::move(made);
    }
  }
  return absl::OkStatus();
}

absl::Status Study::Prepare(ActiveRun& active) {
  CALIPRESS_ASSIGN_OR_RETURN(active.methods, StepMethods::Make(active.run.recipe));
  if (NeedsTokens(active.context, *active.methods)) {
    const Tokens& tokens = tokens_.at(TokensKey(active.run));
    CALIPRESS_RETURN_IF_ERROR(active.Own(tokens.status));
    if (!active.failure.ok()) return absl::OkStatus();
    active.tokens = tokens.shared;
    active.tokens.mixing = MakeMixingPlan(active.run.recipe.calibration(), tokens.shared.source_sequences);
    active.has_tokens = true;
    if (context_.leader()) *active.context.outcome.mutable_calibration() = tokens.report;
  }
  return active.Own(RatiosPhase(active.context, active.tokens, &*active.methods));
}

absl::Status Study::Compress(Batch& batch) {
  std::vector<StreamedRecipe> streamed;
  std::vector<ActiveRun*> owners;
  for (const auto& active : batch) {
    if (!active->failure.ok()) continue;
    if (batch.size() > 1 && active->has_tokens) {
      streamed.push_back({active->context, *active->methods, active->tokens});
      owners.push_back(active.get());
      continue;
    }
    CALIPRESS_RETURN_IF_ERROR(active->Own(BlocksPhase(active->context, *active->methods, active->tokens)));
  }
  if (streamed.empty()) return absl::OkStatus();
  CALIPRESS_RETURN_IF_ERROR(
      RunPhase(streamed.front().context, kCompressPhase, [&] { return CompressStreaming(streamed); }));
  for (size_t i = 0; i < owners.size(); ++i) CALIPRESS_RETURN_IF_ERROR(owners[i]->Own(streamed[i].failure));
  return absl::OkStatus();
}

absl::Status Study::RunBatch(const std::vector<const recipe::StudyRun*>& runs) {
  Batch batch;
  const Stopwatch shared;
  for (const recipe::StudyRun* run : runs) {
    batch.push_back(std::make_unique<ActiveRun>(context_, environment_, setting_, sums_, *run, runs_.size()));
    CALIPRESS_RETURN_IF_ERROR(Prepare(*batch.back()));
    batch.back()->prepared = batch.back()->failure.ok();
  }
  CALIPRESS_RETURN_IF_ERROR(Compress(batch));
  const double each = shared.Seconds() / static_cast<double>(batch.size());
  for (const auto& active : batch) {
    const Stopwatch own;
    // Where rank 0 had no tokens, or a block no ratio, nobody has anything to measure; where one stage failed to solve,
    // the others do not know.
    const bool nobody = !active->prepared;
    if (!nobody) {
      active->context.gave_up = !active->failure.ok();
      const absl::Status status = EvaluatePhase(active->context);
      // Of what can fail here, numbers alone are known to be the run's: the others have done the whole of it.
      if (!status.ok() && ErrorReason(status) != reason::kNonFiniteActivations) return status;
      if (active->failure.ok()) CALIPRESS_RETURN_IF_ERROR(active->Own(status));
    }
    active->seconds = each + own.Seconds();
    CALIPRESS_RETURN_IF_ERROR(Tell(*active));
  }
  return absl::OkStatus();
}

absl::Status Study::Tell(ActiveRun& active) {
  const recipe::StudyRun& run = active.run;
  worker::v1::FinishedRun told;
  told.set_index(run.index);
  v1::RunReport& report = *told.mutable_report();
  report.set_name(run.name);
  report.set_method(run.method);
  report.set_source(run.source);
  report.set_draw(run.draw);
  if (run.domain_weight) report.set_domain_weight(*run.domain_weight);
  report.set_seconds(active.seconds);
  // Also of a run that failed: its ids are published like all others.
  if (active.context.outcome.has_calibration()) *report.mutable_calibration() = active.context.outcome.calibration();
  const auto blocks = active.observer.blocks();
  if (active.failure.ok()) {
    const worker::v1::StageOutcome& outcome = active.context.outcome;
    *report.mutable_evaluations() = outcome.evaluations();
    *report.mutable_tasks() = outcome.tasks();
    *report.mutable_warnings() = outcome.warnings();
    double errors = 0.0;
    for (const auto& [index, block] : blocks) {
      told.add_block_fingerprints(block.sha256());
      told.set_linears(told.linears() + block.linears_size());
      for (const v1::LinearReport& linear : block.linears()) errors += linear.relative_error();
    }
    report.set_relative_error(told.linears() > 0 ? errors / told.linears() : 0.0);
  } else {
    report.set_error(std::string(active.failure.message()));
    report.set_error_reason(ErrorReason(active.failure));
    LogWarning("a run of the study failed", {{"run", run.name}, {"cause", report.error()}});
  }
  context_.outcome.set_peak_memory_bytes(
      std::max(context_.outcome.peak_memory_bytes(), active.context.outcome.peak_memory_bytes()));
  told_.push_back(report);
  context_.observer.OnRunFinished(told);
  // Each rank its own files: another one may not have come to its share yet.
  for (const auto& [index, block] : blocks) CALIPRESS_RETURN_IF_ERROR(context_.store().Delete(block.uri()));
  return absl::OkStatus();
}

// Once for all runs, unless they compare the models token by token, for which both must run side by side.
absl::Status Study::TakeOriginal() {
  const auto batches = Batches();
  if (batches.empty() || context_.recipe().evaluation().divergence()) return absl::OkStatus();
  ActiveRun active(context_, environment_, setting_, sums_, *batches.front().front(), runs_.size());
  auto measured = MeasureOriginal(active.context);
  // Logits that are no numbers are known on one rank, and then of every run as well: each tells it.
  if (!measured.ok() && ErrorReason(measured.status()) != reason::kNonFiniteActivations) return measured.status();
  if (measured.ok()) original_ = *std::move(measured);
  setting_.original = &original_;
  return absl::OkStatus();
}

absl::Status Study::Run() {
  CALIPRESS_RETURN_IF_ERROR(RunPhase(context_, kStudyPhase, [&]() -> absl::Status {
    CALIPRESS_RETURN_IF_ERROR(MakeTokens());
    CALIPRESS_RETURN_IF_ERROR(TakeOriginal());
    for (const auto& batch : Batches()) {
      CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
      CALIPRESS_RETURN_IF_ERROR(RunBatch(batch));
    }
    return group_.Flush();
  }));
  sums_.Tell(kStudyPhase, context_.observer);
  return KeepRuns(context_, {runs_, told_, sets_});
}

}  // namespace

absl::Status RunStudy(StageContext& context) { return Study(context).Run(); }

}  // namespace calipress::engine
