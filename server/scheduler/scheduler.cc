#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "server/scheduler/plan.h"

namespace calipress::scheduler {
namespace {

Time::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

Scheduler::Scheduler(const Options& options, std::function<std::string()> new_token)
    : options_(options), new_token_(std::move(new_token)) {}

void Scheduler::AddJob(const JobSpec& spec, Time now) {
  Job job;
  job.spec = spec;
  job.spec.blocks = std::max(spec.blocks, 1);
  job.not_before = now;
  job.settle_by = now;
  jobs_.push_back(std::move(job));
  Schedule(now);
}

void Scheduler::RestoreJob(Job job, Time now) {
  job.spec.blocks = std::max(job.spec.blocks, 1);
  job.not_before = now;
  // Workers need a moment to find the coordinator again.
  job.settle_by = now + Seconds(options_.replan_grace_seconds);
  for (Lease& lease : job.attempt.leases) {
    lease.last_heard = now;
    if (job.attempt.HoldsWorkers()) workers_.Expect(lease.worker_id, lease.session_id, lease.device, now);
  }
  jobs_.push_back(std::move(job));
  Job& restored = jobs_.back();
  if (restored.attempt.phase == AttemptPhase::kPublishing) {
    decisions_.push_back(MakeDecision(Decision::Kind::kPublish, restored));
  } else if (restored.cancelling && restored.Waiting()) {
    Cancel(restored.spec.uid, now);
  } else if (restored.attempt.HoldsWorkers()) {
    Settle(restored, now);
    DropEnded();
  }
}

void Scheduler::Cancel(std::string_view uid, Time now) {
  Job* job = FindMutable(uid);
  if (job == nullptr) return;
  job->cancelling = true;
  const absl::Status cause =
      MakeError(absl::StatusCode::kCancelled, reason::kCancelled, ErrorClass::kUser, "the job was cancelled");
  if (job->Waiting()) {
    Decision decision = MakeDecision(Decision::Kind::kJobCancelled, *job);
    decision.outcome = AttemptOutcome::kCancelled;
    decision.cause = cause;
    decisions_.push_back(std::move(decision));
    ended_.insert(job->spec.uid);
  } else if (job->attempt.HoldsWorkers()) {
    Stop(*job, cause);
    Settle(*job, now);
  }
  DropEnded();
  Schedule(now);
}

void Scheduler::Finish(std::string_view uid) {
  std::erase_if(jobs_, [&](const Job& job) { return job.spec.uid == uid; });
}

ReportVerdict Scheduler::Report(const WorkerReport& report, Time now) {
  ReportVerdict verdict;
  switch (workers_.Hear(report.worker, now)) {
    case WorkerTable::Arrival::kRetired:
      return verdict;
    case WorkerTable::Arrival::kReplaced:
    case WorkerTable::Arrival::kNew:
      EndLeasesOfOtherLives(report.worker, now);
      break;
    case WorkerTable::Arrival::kKnown:
      break;
  }
  for (Job& job : jobs_) {
    if (!job.attempt.HoldsWorkers()) continue;
    for (Lease& lease : job.attempt.leases) {
      if (lease.worker_id != report.worker.id || lease.session_id != report.worker.session_id) continue;
      if (!lease.Open()) continue;
      if (lease.token == report.lease_token) verdict = {true, lease.rank};
      HearLease(job, lease, report, now);
    }
    Settle(job, now);
  }
  DropEnded();
  Schedule(now);
  return verdict;
}

void Scheduler::EndLeasesOfOtherLives(const Worker& worker, Time now) {
  for (Job& job : jobs_) {
    if (!job.attempt.HoldsWorkers()) continue;
    bool lost = false;
    for (Lease& lease : job.attempt.leases) {
      if (lease.worker_id != worker.id || lease.session_id == worker.session_id || !lease.Open()) continue;
      lease.state = LeaseState::kLost;
      lost = true;
    }
    if (!lost) continue;
    Stop(job, absl::OkStatus());
    Settle(job, now);
  }
}

void Scheduler::HearLease(Job& job, Lease& lease, const WorkerReport& report, Time now) {
  lease.last_heard = now;
  if (lease.token != report.lease_token) {
    // The worker does not work under this lease: it has stopped, has not heard of it yet, or wants to leave.
    if (lease.state == LeaseState::kStopping) {
      lease.state = LeaseState::kStopped;
    } else if (report.worker.draining) {
      lease.state = LeaseState::kLost;
      Stop(job, absl::OkStatus());
    }
    return;
  }
  lease.taken_up = true;
  if (!report.outcome.has_value()) return;
  const bool withdrawn = lease.state == LeaseState::kStopping;
  if (report.outcome->ok()) {
    lease.state = withdrawn ? LeaseState::kStopped : LeaseState::kDone;
    return;
  }
  if (ErrorReason(*report.outcome) == reason::kCancelled) {
    // Nobody asked it to: the worker itself is being stopped.
    lease.state = withdrawn ? LeaseState::kStopped : LeaseState::kLost;
    Stop(job, absl::OkStatus());
    return;
  }
  lease.state = LeaseState::kFailed;
  lease.failure = *report.outcome;
  Stop(job, lease.failure);
}

void Scheduler::Stop(Job& job, const absl::Status& cause) {
  if (job.attempt.phase != AttemptPhase::kRunning) return;
  job.attempt.phase = AttemptPhase::kStopping;
  for (Lease& lease : job.attempt.leases) {
    if (lease.state == LeaseState::kLive) lease.state = LeaseState::kStopping;
  }
  Decision decision = MakeDecision(Decision::Kind::kAttemptStopping, job);
  decision.cause = cause.ok() ? Judge(job.attempt).cause : cause;
  decisions_.push_back(std::move(decision));
}

void Scheduler::Settle(Job& job, Time now) {
  Attempt& attempt = job.attempt;
  if (!attempt.HoldsWorkers()) return;
  if (std::any_of(attempt.leases.begin(), attempt.leases.end(), [](const Lease& lease) { return lease.Open(); })) {
    return;
  }
  Verdict verdict = Judge(attempt);
  if (verdict.outcome == AttemptOutcome::kSucceeded && !job.cancelling) {
    attempt.phase = AttemptPhase::kPublishing;
    decisions_.push_back(MakeDecision(Decision::Kind::kPublish, job));
    return;
  }
  attempt.phase = AttemptPhase::kEnded;
  Decision decision = MakeDecision(Decision::Kind::kAttemptEnded, job);
  if (job.cancelling) {
    decision.kind = Decision::Kind::kJobCancelled;
    decision.outcome = AttemptOutcome::kCancelled;
    decision.cause =
        MakeError(absl::StatusCode::kCancelled, reason::kCancelled, ErrorClass::kUser, "the job was cancelled");
  } else {
    decision.outcome = verdict.outcome;
    decision.cause = verdict.cause;
    int& counter = verdict.outcome == AttemptOutcome::kLost ? job.attempts_lost : job.attempts_failed;
    const int bound =
        verdict.outcome == AttemptOutcome::kLost ? options_.max_attempts_lost : options_.max_attempts_failed;
    ++counter;
    decision.attempts_lost = job.attempts_lost;
    decision.attempts_failed = job.attempts_failed;
    if (verdict.outcome == AttemptOutcome::kFailedForGood) {
      decision.kind = Decision::Kind::kJobFailed;
    } else if (counter >= bound) {
      decision.kind = Decision::Kind::kJobFailed;
      decision.cause =
          MakeError(absl::StatusCode::kAborted, reason::kTooManyAttempts, ErrorClassOf(verdict.cause),
                    absl::StrCat("gave up after ", counter,
                                 verdict.outcome == AttemptOutcome::kLost ? " attempts whose workers were lost"
                                                                          : " failed attempts",
                                 "; the last one: ", std::string(verdict.cause.message())));
    }
  }
  if (decision.kind != Decision::Kind::kAttemptEnded) {
    ended_.insert(job.spec.uid);
  } else {
    job.settle_by = now + Seconds(options_.replan_grace_seconds);
    job.not_before = now;
    if (verdict.outcome == AttemptOutcome::kFailed) {
      job.not_before = now + Seconds(options_.retry_seconds * (1 << std::min(job.attempts_failed - 1, 6)));
    }
  }
  decisions_.push_back(std::move(decision));
}

void Scheduler::Tick(Time now) {
  const Time silent_since = now - Seconds(options_.lease_seconds);
  std::vector<std::string> holding;
  for (Job& job : jobs_) {
    if (!job.attempt.HoldsWorkers()) continue;
    bool lost = false;
    for (Lease& lease : job.attempt.leases) {
      holding.push_back(lease.worker_id);
      if (!lease.Open() || lease.last_heard > silent_since) continue;
      lease.state = LeaseState::kLost;
      ++leases_expired_;
      lost = true;
    }
    if (!lost) continue;
    Stop(job, absl::OkStatus());
    Settle(job, now);
  }
  DropEnded();
  std::sort(holding.begin(), holding.end());
  workers_.Forget(now - Seconds(options_.forget_worker_seconds), holding);
  Schedule(now);
}

int Scheduler::Wanted(const Job& job, Time now) const {
  if (job.attempt.number == 0) return std::min(job.spec.workers, job.spec.most_workers());
  if (now >= job.settle_by) return 0;
  const int before = static_cast<int>(job.attempt.leases.size());
  return std::min(job.spec.workers > 0 ? job.spec.workers : std::max(before, 1), job.spec.most_workers());
}

std::vector<const Worker*> Scheduler::IdleWorkers(const std::string& device, Time now) const {
  std::vector<const Worker*> idle;
  const Time fresh_since = now - Seconds(std::min(options_.idle_fresh_seconds, options_.lease_seconds));
  for (const auto& [id, worker] : workers_.all()) {
    if (worker.heard && !worker.draining && worker.device == device && worker.last_heard >= fresh_since &&
        HolderOf(worker).empty()) {
      idle.push_back(&worker);
    }
  }
  return idle;
}

int Scheduler::LivingWorkers(const std::string& device, Time now) const {
  return static_cast<int>(std::count_if(workers_.all().begin(), workers_.all().end(), [&](const auto& entry) {
    return entry.second.device == device && !entry.second.draining && !IsLost(entry.second, now);
  }));
}

Scheduler::Choice Scheduler::Choose(const Job& job, const std::set<std::string>& held, Time now) const {
  // Faster kinds first, where the job leaves the choice.
  std::vector<std::string> devices = {job.spec.device};
  if (job.spec.device.empty()) devices = {"cuda", "cpu"};
  const int wanted = Wanted(job, now);
  const bool between_attempts = job.attempt.number > 0;
  Choice choice;
  for (const std::string& device : devices) {
    std::vector<const Worker*> idle = IdleWorkers(device, now);
    std::erase_if(idle, [&](const Worker* worker) { return held.contains(worker->id); });
    int most = job.spec.most_workers();
    if (job.spec.workers > 0) most = std::min(most, job.spec.workers);
    if (wanted > 0) most = wanted;
    if (!idle.empty() && static_cast<int>(idle.size()) >= wanted && now >= job.not_before) {
      idle.resize(std::min<size_t>(idle.size(), most));
      choice.gang = std::move(idle);
      return choice;
    }
    // Later jobs must not take these, or a large job would wait for ever; but a job that asks for more workers than
    // there are blocks nobody.
    if (choice.reserved.empty() && (between_attempts || LivingWorkers(device, now) >= wanted)) {
      idle.resize(std::min<size_t>(idle.size(), most));
      choice.reserved = std::move(idle);
    }
  }
  return choice;
}

void Scheduler::Schedule(Time now) {
  std::set<std::string> held;
  for (Job& job : jobs_) {
    if (!job.Waiting() || job.cancelling) continue;
    const Choice choice = Choose(job, held, now);
    if (!choice.gang.empty()) StartAttempt(job, choice.gang, now);
    for (const Worker* worker : choice.reserved) held.insert(worker->id);
  }
}

void Scheduler::StartAttempt(Job& job, const std::vector<const Worker*>& gang, Time now) {
  Attempt attempt;
  attempt.number = job.attempt.number + 1;
  attempt.phase = AttemptPhase::kRunning;
  attempt.rendezvous = gang.front()->rendezvous;
  const int workers = static_cast<int>(gang.size());
  const std::vector<BlockRange> ranges =
      job.spec.samples > 0 ? PlanReplicas(job.spec.blocks, workers) : PlanBlocks(job.spec.blocks, workers);
  for (size_t rank = 0; rank < ranges.size(); ++rank) {
    Lease lease;
    lease.rank = static_cast<int>(rank);
    lease.token = new_token_();
    lease.worker_id = gang[rank]->id;
    lease.session_id = gang[rank]->session_id;
    lease.device = gang[rank]->device;
    lease.first_block = ranges[rank].first;
    lease.end_block = ranges[rank].end;
    lease.last_heard = now;
    attempt.leases.push_back(std::move(lease));
  }
  job.attempt = std::move(attempt);
  decisions_.push_back(MakeDecision(Decision::Kind::kAttemptStarted, job));
}

std::vector<Decision> Scheduler::TakeDecisions() { return std::exchange(decisions_, {}); }

Decision Scheduler::MakeDecision(Decision::Kind kind, const Job& job) const {
  Decision decision;
  decision.kind = kind;
  decision.uid = job.spec.uid;
  decision.attempt = job.attempt.number;
  decision.attempts_lost = job.attempts_lost;
  decision.attempts_failed = job.attempts_failed;
  return decision;
}

void Scheduler::DropEnded() {
  if (ended_.empty()) return;
  std::erase_if(jobs_, [this](const Job& job) { return ended_.contains(job.spec.uid); });
  ended_.clear();
}

std::optional<Scheduler::Assignment> Scheduler::AssignmentOf(const std::string& worker_id,
                                                             const std::string& session_id) const {
  for (const Job& job : jobs_) {
    if (job.attempt.phase != AttemptPhase::kRunning) continue;
    for (const Lease& lease : job.attempt.leases) {
      if (lease.worker_id == worker_id && lease.session_id == session_id && lease.state == LeaseState::kLive) {
        return Assignment{&job, &lease};
      }
    }
  }
  return std::nullopt;
}

Job* Scheduler::FindMutable(std::string_view uid) {
  const auto it = std::find_if(jobs_.begin(), jobs_.end(), [&](const Job& job) { return job.spec.uid == uid; });
  return it == jobs_.end() ? nullptr : &*it;
}

const Job* Scheduler::Find(std::string_view uid) const { return const_cast<Scheduler*>(this)->FindMutable(uid); }

std::string Scheduler::HolderOf(const Worker& worker) const {
  for (const Job& job : jobs_) {
    if (!job.attempt.HoldsWorkers()) continue;
    for (const Lease& lease : job.attempt.leases) {
      if (lease.worker_id == worker.id && lease.session_id == worker.session_id && lease.state != LeaseState::kLost) {
        return job.spec.uid;
      }
    }
  }
  return "";
}

bool Scheduler::IsLost(const Worker& worker, Time now) const {
  return worker.last_heard <= now - Seconds(options_.lease_seconds);
}

std::string Scheduler::WaitingFor(std::string_view uid, Time now) const {
  const Job* job = Find(uid);
  if (job == nullptr || !job->Waiting()) return "";
  if (now < job->not_before) return "pauses before the next attempt";
  const int wanted = std::max(Wanted(*job, now), 1);
  int idle = 0;
  for (const std::string device : {"cuda", "cpu"}) {
    if (job->spec.device.empty() || job->spec.device == device) {
      idle = std::max(idle, static_cast<int>(IdleWorkers(device, now).size()));
    }
  }
  return absl::StrCat("waits for ", wanted, job->spec.device.empty() ? "" : " ", job->spec.device,
                      wanted == 1 ? " worker, " : " workers, ", idle, idle == 1 ? " is idle" : " are idle");
}

}  // namespace calipress::scheduler
