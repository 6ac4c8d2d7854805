// Publishing what workers have left, and sweeping up after jobs: slow, so without the lock.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/storage/object_store.h"
#include "server/fleet/coordinator_impl.h"
#include "server/fleet/fleet_metrics.h"
#include "server/fleet/report_merge.h"
#include "server/fleet/staging.h"
#include "server/fleet/study_runs.h"

namespace calipress::fleet {
namespace {

// Before the try that follows so many: doubled each time.
Clock::SteadyTime::duration Pause(double first_seconds, int tries) {
  const std::chrono::duration<double> pause(first_seconds * (1 << std::min(tries - 1, 6)));
  return std::chrono::duration_cast<Clock::SteadyTime::duration>(pause);
}

}  // namespace

WorkingJob* CoordinatorImpl::NextToPublish() {
  for (const scheduler::Job& job : scheduler_.jobs()) {
    if (job.attempt.phase != scheduler::AttemptPhase::kPublishing) continue;
    const auto it = working_.find(job.spec.uid);
    if (it != working_.end() && !it->second.publishing && it->second.publish_at <= clock_.Steady()) return &it->second;
  }
  return nullptr;
}

void CoordinatorImpl::PublishOne(std::unique_lock<std::mutex>& lock, WorkingJob& working) {
  working.publishing = true;
  ++working.publish_tries;
  const v1::CompressionJob job = working.job;
  std::vector<worker::v1::StageOutcome> outcomes;
  for (const worker::v1::StageState& rank : working.ranks) outcomes.push_back(rank.outcome());
  const std::vector<worker::v1::FinishedBlock> blocks = working.Blocks();
  v1::Report report = MergeReports(working.ranks, working.earlier, blocks);
  worker::v1::StageState kept;
  if (job.recipe().has_study()) {
    *report.mutable_study() = ReportOfRuns(working.ranks, working.earlier);
    *kept.mutable_kept_runs() = working.earlier.kept_runs();
    AddKept(working.ranks, job.attempt(), &kept);
  }
  if (const absl::Status any = CheckAnyRun(report.study()); !any.ok()) {
    working.publishing = false;
    EndWithoutResult(working, any);
    (void)Flush();
    return;
  }
  report.set_total_seconds(std::chrono::duration<double>(clock_.Wall() - ReadTimestamp(job.start_time())).count());

  lock.unlock();
  absl::Status status;
  {
    LogScope scope({{"job", job.name()}, {"attempt", job.attempt()}});
    const Stopwatch watch;
    status = publisher_->Publish(job, outcomes, blocks, {kept.kept_runs().begin(), kept.kept_runs().end()}, &report);
    ObservePublish(watch.Seconds(), status.ok());
  }
  lock.lock();

  working.publishing = false;
  AfterPublish(working, status, report);
  (void)Flush();
}

void CoordinatorImpl::AfterPublish(WorkingJob& working, const absl::Status& status, const v1::Report& report) {
  const std::string uid = working.job.uid();
  if (status.ok()) {
    working.change.uid = uid;
    working.change.report = report;
    CountAttempt(scheduler::AttemptOutcome::kSucceeded, status);
    scheduler_.Finish(uid);
    EndJob(working, v1::CompressionJob::SUCCEEDED, status, "done");
    return;
  }
  const bool cancelling = working.job.state() == v1::CompressionJob::CANCELLING;
  const bool again = ErrorClassOf(status) == ErrorClass::kEnvironment && working.publish_tries < options_.publish_tries;
  const std::string cause(status.message());
  LogWarning("publishing failed", {{"job", working.job.name()},
                                   {"tries", working.publish_tries},
                                   {"reason", ErrorReason(status)},
                                   {"cause", cause}});
  if (again && !cancelling) {
    working.publish_at = clock_.Steady() + Pause(options_.publish_retry_seconds, working.publish_tries);
    working.AddEvent(clock_.Wall(), absl::StrCat("publishing failed, and is tried again: ", cause));
    return;
  }
  EndWithoutResult(working, Annotate(status, "publishing"));
}

void CoordinatorImpl::EndWithoutResult(WorkingJob& working, const absl::Status& cause) {
  scheduler_.Finish(working.job.uid());
  if (working.job.state() == v1::CompressionJob::CANCELLING) {
    CountAttempt(scheduler::AttemptOutcome::kCancelled, cause);
    EndJob(working, v1::CompressionJob::CANCELLED, absl::OkStatus(), "cancelled");
    return;
  }
  CountAttempt(scheduler::AttemptOutcome::kFailed, cause);
  EndJob(working, v1::CompressionJob::FAILED, cause, absl::StrCat("failed: ", cause.message()));
}

bool CoordinatorImpl::HasDueSweep() const {
  const Clock::SteadyTime now = clock_.Steady();
  return std::any_of(to_sweep_.begin(), to_sweep_.end(), [now](const DueSweep& sweep) { return sweep.at <= now; });
}

std::optional<CoordinatorImpl::DueSweep> CoordinatorImpl::TakeDueSweep() {
  const Clock::SteadyTime now = clock_.Steady();
  // Nothing is waited for once the coordinator stops: everything gets its last try.
  const auto due = std::find_if(to_sweep_.begin(), to_sweep_.end(),
                                [&](const DueSweep& sweep) { return stopping_ || sweep.at <= now; });
  if (due == to_sweep_.end()) return std::nullopt;
  DueSweep sweep = std::move(*due);
  to_sweep_.erase(due);
  return sweep;
}

void CoordinatorImpl::SweepOne(std::unique_lock<std::mutex>& lock, DueSweep sweep) {
  const v1::CompressionJob& job = sweep.job;
  ++sweep.tries;
  lock.unlock();
  const absl::Status swept = publisher_->Sweep(job);
  CountSweep(swept.ok());
  if (swept.ok()) {
    store::JobChange change;
    change.uid = job.uid();
    change.needs_sweep = false;
    // After a failure here a restart sweeps again.
    const absl::Status written = store_->Apply(change);
    if (!written.ok() && written.code() != absl::StatusCode::kNotFound) {
      LogWarning("a sweep could not be noted", {{"job", job.name()}, {"error", std::string(written.message())}});
    }
    lock.lock();
    return;
  }
  lock.lock();
  const bool again = sweep.tries < options_.sweep_tries && !stopping_;
  LogWarning(again ? "a job's files could not be swept up; it is tried again"
                   : "a job's files could not be swept up; the coordinator's next start tries again",
             {{"job", job.name()},
              {"folder", storage::RedactUri(StagingRoot(job))},
              {"tries", sweep.tries},
              {"reason", ErrorReason(swept)},
              {"error", std::string(swept.message())}});
  if (!again) return;
  sweep.at = clock_.Steady() + Pause(options_.sweep_retry_seconds, sweep.tries);
  to_sweep_.push_back(std::move(sweep));
}

void CoordinatorImpl::RunDue(bool sweep_only) {
  Section section(*this);
  while (true) {
    if (!sweep_only && !stopping_) {
      // What a restart would publish must be in the store before anything is published.
      if (!Flush().ok()) return;
      section.TellNews();
      if (WorkingJob* working = NextToPublish()) {
        PublishOne(section.lock(), *working);
        section.TellNews();
        continue;
      }
    }
    std::optional<DueSweep> sweep = TakeDueSweep();
    if (!sweep) return;
    SweepOne(section.lock(), *std::move(sweep));
  }
}

void CoordinatorImpl::RunPublishing() { RunDue(/*sweep_only=*/false); }

void CoordinatorImpl::PublishLoop() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      // Pauses before another try end unannounced, so it looks again now and then.
      wake_.wait_for(lock, std::chrono::duration<double>(options_.tick_seconds),
                     [this] { return stopping_ || NextToPublish() != nullptr || HasDueSweep(); });
      if (stopping_) return;
    }
    RunPublishing();
    // Still due: the store is down. It gets a moment.
    std::unique_lock lock(mutex_);
    if (NextToPublish() == nullptr) continue;
    wake_.wait_for(lock, std::chrono::duration<double>(options_.tick_seconds), [this] { return stopping_; });
    if (stopping_) return;
  }
}

}  // namespace calipress::fleet
