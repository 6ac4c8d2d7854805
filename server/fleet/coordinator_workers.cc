// What workers say, and what follows from it.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "server/fleet/coordinator_impl.h"
#include "server/fleet/fleet_metrics.h"
#include "server/fleet/report_bounds.h"
#include "server/fleet/report_merge.h"
#include "server/fleet/rpc_status.h"
#include "server/fleet/staging.h"
#include "server/fleet/study_runs.h"

namespace calipress::fleet {
namespace {

// After a stage has ended or while it stops, the next thing to do is near.
constexpr double kSoonSeconds = 0.2;

double SecondsBetween(const google::protobuf::Timestamp& from, const google::protobuf::Timestamp& to) {
  return static_cast<double>(to.seconds() - from.seconds()) + 1e-9 * (to.nanos() - from.nanos());
}

void SetDuration(double seconds, google::protobuf::Duration* duration) {
  duration->set_seconds(static_cast<int64_t>(seconds));
  duration->set_nanos(static_cast<int32_t>((seconds - static_cast<double>(duration->seconds())) * 1e9));
}

}  // namespace

absl::StatusOr<worker::v1::SynchronizeResponse> CoordinatorImpl::Synchronize(
    const worker::v1::SynchronizeRequest& request) {
  CALIPRESS_RETURN_IF_ERROR(CheckIdentity(request));
  scheduler::WorkerReport report;
  report.worker.id = request.worker_id();
  report.worker.session_id = request.session_id();
  report.worker.device = request.capabilities().device();
  report.worker.rendezvous = request.capabilities().rendezvous();
  report.worker.draining = request.draining();
  worker::v1::StageState stage = request.stage();
  BoundStage(&stage);
  if (request.has_stage()) {
    report.job_uid = stage.job_uid();
    report.attempt = stage.attempt();
    report.lease_token = stage.lease_token();
    if (stage.has_outcome()) report.outcome = FromRpcStatus(stage.outcome().status());
  }

  Section section(*this);
  worker::v1::Capabilities& capabilities = capabilities_[request.worker_id()];
  capabilities = request.capabilities();
  scheduler::ReportVerdict verdict;
  {
    // The attempt as it is before this report: the report may end it.
    const scheduler::Job* before = scheduler_.Find(report.job_uid);
    const scheduler::Attempt attempt = before == nullptr ? scheduler::Attempt() : before->attempt;
    DecisionTimer timer;
    verdict = scheduler_.Report(report, clock_.Steady());
    if (verdict.accepted) {
      if (auto it = working_.find(report.job_uid); it != working_.end()) {
        TakeStage(it->second, attempt, verdict.rank, std::move(stage));
      }
    } else if (!report.lease_token.empty() && !report.outcome) {
      CountRefusedReport("stale_lease");
    }
  }
  ApplyDecisions();
  CALIPRESS_RETURN_IF_ERROR(Flush());

  worker::v1::SynchronizeResponse response;
  double next = options_.idle_synchronize_seconds;
  if (const auto assigned = scheduler_.AssignmentOf(report.worker.id, report.worker.session_id)) {
    *response.mutable_assignment() = MakeAssignment(*assigned->job, *assigned->lease);
    next = options_.busy_synchronize_seconds;
  } else if (request.has_stage()) {
    next = std::min(next, kSoonSeconds);
  }
  SetDuration(next, response.mutable_next_synchronize());
  return response;
}

void CoordinatorImpl::TakeStage(WorkingJob& working, const scheduler::Attempt& attempt, int rank,
                                worker::v1::StageState stage) {
  TakeBlocks(working, attempt, rank, stage);
  // The blocks are kept by themselves.
  stage.clear_finished_blocks();
  worker::v1::StageState& known = working.ranks.at(rank);
  const bool worth_keeping = stage.has_outcome() || stage.phases_size() != known.phases_size() ||
                             stage.finished_runs_size() != known.finished_runs_size() ||
                             stage.kept_runs_size() != known.kept_runs_size();
  const bool new_line = !stage.message().empty() && stage.message() != known.message();
  known = std::move(stage);
  if (rank == 0 && !working.job.output().empty()) {
    for (const v1::PhaseReport& phase : known.phases()) {
      const std::string uri = CalibrationIdsUri(working.job, attempt.number);
      if (phase.name() != kTokensPhase || working.calibration_ids_uri == uri) continue;
      working.calibration_ids_uri = uri;
      working.change.uid = working.job.uid();
      working.change.calibration_ids_uri = uri;
      working.changed = true;
    }
  }
  if (new_line) working.job.mutable_progress()->set_message(known.message());
  ReportProgress(working, attempt);
  if (!worth_keeping) return;
  // With the lease as it is after the report.
  if (const scheduler::Job* job = scheduler_.Find(working.job.uid()); job != nullptr) {
    if (job->attempt.number == attempt.number) working.KeepAttempt(job->attempt);
  }
}

void CoordinatorImpl::TakeBlocks(WorkingJob& working, const scheduler::Attempt& attempt, int rank,
                                 const worker::v1::StageState& stage) {
  const scheduler::Lease& lease = attempt.leases.at(rank);
  const std::string staging = AttemptStaging(working.job, attempt.number);
  for (const worker::v1::FinishedBlock& block : stage.finished_blocks()) {
    if (working.blocks.contains(block.index())) continue;
    if (!AcceptsBlock(block, lease.first_block, lease.end_block, staging)) {
      CountRefusedReport("foreign_block");
      LogWarning("a finished block that does not belong was not taken",
                 {{"job", working.job.name()}, {"worker", lease.worker_id}, {"block", block.index()}});
      continue;
    }
    store::BlockRow row{attempt.number, block};
    working.change.blocks.push_back(row);
    working.blocks.emplace(block.index(), std::move(row));
    working.UpdateProgress(attempt);
    working.AddEvent(clock_.Wall(), absl::StrCat("block ", block.index(), " finished"));
  }
}

void CoordinatorImpl::ReportProgress(WorkingJob& working, const scheduler::Attempt& attempt) {
  working.UpdateProgress(attempt);
  v1::CompressionJob& job = working.job;
  if (job.state() == v1::CompressionJob::PREPARING && PastPreparation(working.RankShares(attempt))) {
    SetState(working, v1::CompressionJob::RUNNING);
    working.AddEvent(clock_.Wall(), absl::StrCat("attempt ", attempt.number, ": runs"));
    working.last_progress_event = clock_.Steady();
    return;
  }
  const double since = std::chrono::duration<double>(clock_.Steady() - working.last_progress_event).count();
  if (since < options_.progress_seconds || HasEnded(job.state())) return;
  const v1::Progress& now = job.progress();
  if (now.phase() == working.told.phase() && now.message() == working.told.message() &&
      now.fraction() - working.told.fraction() < 0.001) {
    return;
  }
  working.AddEvent(clock_.Wall(), now.message());
  working.last_progress_event = clock_.Steady();
}

worker::v1::Assignment CoordinatorImpl::MakeAssignment(const scheduler::Job& job, const scheduler::Lease& lease) const {
  const WorkingJob& working = working_.at(job.spec.uid);
  worker::v1::Assignment assignment;
  assignment.set_job_uid(job.spec.uid);
  assignment.set_job_name(working.job.name());
  assignment.set_attempt(job.attempt.number);
  assignment.set_lease_token(lease.token);
  assignment.set_rank(lease.rank);
  assignment.set_world_size(static_cast<int>(job.attempt.leases.size()));
  assignment.set_rendezvous(job.attempt.rendezvous);
  assignment.set_model_uri(working.job.model());
  assignment.set_output_uri(working.job.output());
  assignment.set_staging_uri(AttemptStaging(working.job, job.attempt.number));
  *assignment.mutable_recipe() = working.job.recipe();
  assignment.set_first_block(lease.first_block);
  assignment.set_end_block(lease.end_block);
  // Those of this attempt are not among them: the assignment stays the same while the lease lives.
  for (worker::v1::FinishedBlock& block : working.Blocks(job.attempt.number)) {
    block.clear_linears();
    *assignment.add_finished_blocks() = std::move(block);
  }
  *assignment.mutable_finished_runs() = working.earlier.finished_runs();
  *assignment.mutable_kept_runs() = working.earlier.kept_runs();
  if (working.job.recipe().has_study()) assignment.set_shared_staging_uri(StagingRoot(working.job));
  if (working.calibration_ids_uri != CalibrationIdsUri(working.job, job.attempt.number)) {
    assignment.set_calibration_ids_uri(working.calibration_ids_uri);
  }
  assignment.set_device(lease.device);
  return assignment;
}

void CoordinatorImpl::ApplyDecisions() {
  for (const scheduler::Decision& decision : scheduler_.TakeDecisions()) {
    const auto it = working_.find(decision.uid);
    if (it == working_.end()) continue;
    WorkingJob& working = it->second;
    working.job.set_attempts_lost(decision.attempts_lost);
    working.job.set_attempts_failed(decision.attempts_failed);
    switch (decision.kind) {
      case scheduler::Decision::Kind::kAttemptStarted:
        OnAttemptStarted(working);
        break;
      case scheduler::Decision::Kind::kAttemptStopping:
        OnAttemptStopping(working, decision);
        break;
      case scheduler::Decision::Kind::kAttemptEnded:
        OnAttemptEnded(working, decision);
        break;
      case scheduler::Decision::Kind::kPublish:
        OnPublish(working);
        break;
      case scheduler::Decision::Kind::kJobFailed:
        CountAttempt(decision.outcome, decision.cause);
        EndJob(working, v1::CompressionJob::FAILED, decision.cause,
               absl::StrCat("failed: ", std::string(decision.cause.message())));
        break;
      case scheduler::Decision::Kind::kJobCancelled:
        if (decision.attempt > 0) CountAttempt(decision.outcome, decision.cause);
        EndJob(working, v1::CompressionJob::CANCELLED, decision.cause, "cancelled");
        break;
    }
  }
}

void CoordinatorImpl::OnAttemptStarted(WorkingJob& working) {
  const scheduler::Job* scheduled = scheduler_.Find(working.job.uid());
  if (scheduled == nullptr) return;
  const scheduler::Attempt& attempt = scheduled->attempt;
  v1::CompressionJob& job = working.job;
  job.set_attempt(attempt.number);
  if (!job.has_start_time()) {
    SetTimestamp(clock_.Wall(), job.mutable_start_time());
    ObserveQueueTime(SecondsBetween(job.create_time(), job.start_time()));
  }
  working.ranks.assign(attempt.leases.size(), worker::v1::StageState());
  // A new attempt begins where its finished blocks are.
  job.mutable_progress()->set_fraction(0);
  job.mutable_progress()->clear_phase();
  job.mutable_progress()->clear_message();
  working.UpdateProgress(attempt);
  SetState(working, v1::CompressionJob::PREPARING);
  std::vector<std::string> names;
  for (const scheduler::Lease& lease : attempt.leases) names.push_back(lease.worker_id);
  std::string message = absl::StrCat("attempt ", attempt.number, ": starts on ", absl::StrJoin(names, ", "));
  if (!working.blocks.empty()) {
    absl::StrAppend(&message, ", going on from block ", working.FirstUnfinishedBlock());
  }
  if (!job.output().empty()) working.change.needs_sweep = true;
  working.KeepAttempt(attempt);
  working.AddEvent(clock_.Wall(), message);
  LogInfo("attempt started",
          {{"job", job.name()}, {"attempt", attempt.number}, {"workers", absl::StrJoin(names, ",")}});
}

void CoordinatorImpl::OnAttemptStopping(WorkingJob& working, const scheduler::Decision& decision) {
  if (const scheduler::Job* job = scheduler_.Find(working.job.uid())) {
    // The next attempt may have begun already; its own decision follows.
    if (job->attempt.number == decision.attempt) working.KeepAttempt(job->attempt);
  }
  if (working.job.state() == v1::CompressionJob::CANCELLING) return;
  const std::string cause(decision.cause.message());
  working.AddEvent(clock_.Wall(), absl::StrCat("attempt ", decision.attempt, ": ", cause, "; its workers are stopped"));
  LogWarning("attempt is being stopped", {{"job", working.job.name()},
                                          {"attempt", decision.attempt},
                                          {"reason", ErrorReason(decision.cause)},
                                          {"cause", cause}});
}

void CoordinatorImpl::OnAttemptEnded(WorkingJob& working, const scheduler::Decision& decision) {
  CountAttempt(decision.outcome, decision.cause);
  AddPhases(working.ranks, &working.earlier);
  AddRuns(working.ranks, &working.earlier);
  AddKept(working.ranks, decision.attempt, &working.earlier);
  working.change.earlier_phases = working.earlier;
  if (const scheduler::Job* job = scheduler_.Find(working.job.uid())) {
    if (job->attempt.number == decision.attempt) working.KeepAttempt(job->attempt);
  }
  SetState(working, v1::CompressionJob::QUEUED);
  working.job.mutable_progress()->clear_message();
  std::string message = absl::StrCat("attempt ", decision.attempt, ": ", std::string(decision.cause.message()));
  if (!working.blocks.empty()) {
    absl::StrAppend(&message, "; going on from block ", working.FirstUnfinishedBlock());
  } else {
    absl::StrAppend(&message, "; the job is tried again");
  }
  working.AddEvent(clock_.Wall(), message);
  LogWarning("attempt ended", {{"job", working.job.name()},
                               {"attempt", decision.attempt},
                               {"outcome", scheduler::AttemptOutcomeName(decision.outcome)},
                               {"reason", ErrorReason(decision.cause)},
                               {"cause", std::string(decision.cause.message())}});
}

void CoordinatorImpl::OnPublish(WorkingJob& working) {
  if (const scheduler::Job* job = scheduler_.Find(working.job.uid())) working.KeepAttempt(job->attempt);
  working.publish_at = clock_.Steady();
  v1::Progress* progress = working.job.mutable_progress();
  progress->set_phase(std::string(kPublishPhase));
  progress->set_fraction(std::max(progress->fraction(), 0.99));
  progress->set_message("publishing");
  if (working.job.state() == v1::CompressionJob::PREPARING) SetState(working, v1::CompressionJob::RUNNING);
  working.AddEvent(clock_.Wall(), "every worker is done; publishing");
  wake_.notify_all();
}

void CoordinatorImpl::EndJob(WorkingJob& working, v1::CompressionJob::State state, const absl::Status& error,
                             const std::string& message) {
  v1::CompressionJob& job = working.job;
  SetState(working, state);
  SetTimestamp(clock_.Wall(), job.mutable_end_time());
  if (state == v1::CompressionJob::FAILED) {
    *job.mutable_error() = ToRpcStatus(error);
  } else {
    job.clear_error();
  }
  if (state == v1::CompressionJob::SUCCEEDED) job.mutable_progress()->set_fraction(1);
  if (state != v1::CompressionJob::SUCCEEDED && job.recipe().has_study()) {
    // What the study has measured is not lost with the job.
    v1::Report report = MergeReports(working.ranks, working.earlier, working.Blocks());
    *report.mutable_study() = ReportOfRuns(working.ranks, working.earlier);
    report.mutable_study()->clear_kept();
    for (v1::RunReport& run : *report.mutable_study()->mutable_runs()) run.clear_checkpoint();
    working.change.uid = job.uid();
    if (report.study().runs_size() > 0) working.change.report = report;
  }
  job.mutable_progress()->clear_message();
  const double seconds = job.has_start_time() ? SecondsBetween(job.start_time(), job.end_time()) : 0;
  CountFinishedJob(job, seconds, state == v1::CompressionJob::FAILED ? error : absl::OkStatus());
  working.AddEvent(clock_.Wall(), message);
  LogInfo("job ended", {{"job", job.name()},
                        {"state", v1::CompressionJob::State_Name(state)},
                        {"attempts", job.attempt()},
                        {"seconds", seconds},
                        {"message", message}});
}

std::vector<v1::WorkerInfo> CoordinatorImpl::ListWorkers() const {
  const Clock::SteadyTime now = clock_.Steady();
  std::vector<v1::WorkerInfo> list;
  for (const auto& [id, worker] : scheduler_.workers().all()) {
    v1::WorkerInfo info;
    info.set_id(id);
    info.set_device(worker.device);
    if (const auto it = capabilities_.find(id); it != capabilities_.end()) {
      info.set_threads(it->second.threads());
      info.set_memory_bytes(it->second.memory_bytes());
    }
    const std::string holder = scheduler_.HolderOf(worker);
    if (const auto it = working_.find(holder); it != working_.end()) info.set_job(it->second.job.name());
    if (scheduler_.IsLost(worker, now)) {
      info.set_state(v1::WorkerInfo::LOST);
    } else if (worker.draining) {
      info.set_state(v1::WorkerInfo::DRAINING);
    } else {
      info.set_state(holder.empty() ? v1::WorkerInfo::IDLE : v1::WorkerInfo::BUSY);
    }
    info.set_seconds_since_seen(std::chrono::duration<double>(now - worker.last_heard).count());
    list.push_back(std::move(info));
  }
  return list;
}

std::vector<v1::WorkerInfo> CoordinatorImpl::Workers() {
  Section section(*this);
  return ListWorkers();
}

}  // namespace calipress::fleet
