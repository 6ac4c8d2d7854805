#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/scheduler/attempt.h"
#include "server/scheduler/worker_table.h"

namespace calipress::scheduler {

struct Options {
  // A worker that has not synchronised for so long has lost its lease.
  double lease_seconds = 15;
  // After an attempt: how long a job waits for as many workers as it had before it takes what is left.
  double replan_grace_seconds = 5;
  // Pause after the first failed attempt (not after a lost one), doubled for each further one.
  double retry_seconds = 2;
  // An idle worker that has been silent for longer is given no work.
  double idle_fresh_seconds = 5;
  // Silent workers are listed as lost for so long.
  double forget_worker_seconds = 600;
  // The job has failed once a counter reaches its bound.
  int max_attempts_lost = 10;
  int max_attempts_failed = 3;
};

// What the scheduler needs to know of a job.
struct JobSpec {
  std::string uid;
  // Blocks of the model, at least 1.
  int blocks = 1;
  // Workers wanted; 0: all idle ones of one device kind, at most most_workers().
  int workers = 0;
  // "cpu", "cuda" or "" for any (a gang is always of one kind).
  std::string device;
  // Each worker has all blocks and a share of so many samples; 0: each has a range of blocks.
  int samples = 0;

  // More would have nothing to do.
  int most_workers() const { return samples > 0 ? samples : blocks; }
};

// A job that has not ended.
struct Job {
  JobSpec spec;
  bool cancelling = false;
  int attempts_lost = 0;
  int attempts_failed = 0;
  // The newest one; number 0: none yet.
  Attempt attempt;
  // Before this no new attempt starts (a pause after a failure).
  Time not_before;
  // Until then the next attempt waits for as many workers as it wants.
  Time settle_by;

  bool Waiting() const { return attempt.phase == AttemptPhase::kEnded; }
};

// A worker's Synchronize, as far as it matters here.
struct WorkerReport {
  Worker worker;
  // The lease under which it works, or which has just ended; empty: idle.
  std::string job_uid;
  int attempt = 0;
  std::string lease_token;
  // Set once the stage has ended.
  std::optional<absl::Status> outcome;
};

// Whether what the worker said of its stage counts.
struct ReportVerdict {
  // False for a stale lease: the report's content is to be ignored. (True also for a withdrawn lease whose worker is
  // still stopping.)
  bool accepted = false;
  int rank = 0;
};

// What has happened to a job, in the order in which it happened.
struct Decision {
  enum class Kind {
    kAttemptStarted,   // Find(uid)->attempt is the new one
    kAttemptStopping,  // its other ranks are being stopped; `cause` if it is known already
    kAttemptEnded,     // lost or failed; another one follows
    kPublish,          // every rank is done
    kJobFailed,        // the job is no longer known here
    kJobCancelled,     // the job is no longer known here
  };
  Kind kind = Kind::kAttemptStarted;
  std::string uid;
  int attempt = 0;
  AttemptOutcome outcome = AttemptOutcome::kSucceeded;
  // Of the attempt; for kJobFailed of the job.
  absl::Status cause;
  int attempts_lost = 0;
  int attempts_failed = 0;
};

// Who works on what. Pure: events and times in, decisions out; no I/O, no threads, no clock. The same events at the
// same times give the same decisions. Jobs are served first come, first served; a gang gets all its workers or none.
//
// An attempt whose rank failed or was lost is stopped as a whole; the next one starts when every lease of it has ended
// (stopped, reported, or expired), so two attempts never compute at once.
class Scheduler {
 public:
  // `new_token` gives a fresh, unguessable lease token at each call.
  Scheduler(const Options& options, std::function<std::string()> new_token);

  void AddJob(const JobSpec& spec, Time now);
  // A stored job, in queue order; its open leases are good for a full lease period from now.
  void RestoreJob(Job job, Time now);
  // Asks a job to stop; unknown ones are ignored.
  void Cancel(std::string_view uid, Time now);
  // Forgets a job whose attempt is kPublishing: it was published, or could not be.
  void Finish(std::string_view uid);

  // A worker synchronises. Read AssignmentOf afterwards.
  ReportVerdict Report(const WorkerReport& report, Time now);
  // Expires leases and starts what can start.
  void Tick(Time now);

  // Everything decided since the last call.
  std::vector<Decision> TakeDecisions();
  // Leases that have ever ended because their worker was silent.
  int64_t leases_expired() const { return leases_expired_; }

  // What a worker should be doing.
  struct Assignment {
    const Job* job = nullptr;
    const Lease* lease = nullptr;
  };
  std::optional<Assignment> AssignmentOf(const std::string& worker_id, const std::string& session_id) const;

  const Job* Find(std::string_view uid) const;
  // In queue order.
  const std::list<Job>& jobs() const { return jobs_; }
  const WorkerTable& workers() const { return workers_; }
  // The uid of the job that holds a worker (also while it waits for the rest of its gang), or "".
  std::string HolderOf(const Worker& worker) const;
  // Not heard of for a lease period.
  bool IsLost(const Worker& worker, Time now) const;
  // One line for people about a waiting job: "waits for 2 cpu workers, 1 is idle"; "" for any other job.
  std::string WaitingFor(std::string_view uid, Time now) const;

 private:
  // Which idle workers a waiting job gets, or keeps others from getting.
  struct Choice {
    std::vector<const Worker*> gang;
    std::vector<const Worker*> reserved;
  };

  Job* FindMutable(std::string_view uid);
  void EndLeasesOfOtherLives(const Worker& worker, Time now);
  void HearLease(Job& job, Lease& lease, const WorkerReport& report, Time now);
  void Stop(Job& job, const absl::Status& cause);
  // Ends or publishes an attempt that no lease holds open any more.
  void Settle(Job& job, Time now);
  void Schedule(Time now);
  Choice Choose(const Job& job, const std::set<std::string>& held, Time now) const;
  void StartAttempt(Job& job, const std::vector<const Worker*>& gang, Time now);
  int Wanted(const Job& job, Time now) const;
  Decision MakeDecision(Decision::Kind kind, const Job& job) const;
  std::vector<const Worker*> IdleWorkers(const std::string& device, Time now) const;
  int LivingWorkers(const std::string& device, Time now) const;
  // Jobs that an event has ended leave the queue.
  void DropEnded();

  const Options options_;
  const std::function<std::string()> new_token_;
  std::list<Job> jobs_;
  WorkerTable workers_;
  std::vector<Decision> decisions_;
  std::set<std::string, std::less<>> ended_;
  int64_t leases_expired_ = 0;
};

}  // namespace calipress::scheduler
