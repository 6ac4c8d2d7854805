#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calipress/v1/compression_service.pb.h"
#include "calipress/v1/job.pb.h"
#include "compress/base/clock.h"
#include "server/scheduler/scheduler.h"

namespace calipress::fleet {

// The coordinator's metrics of jobs, attempts, leases and workers.

// calipress_jobs{state}.
void SetJobCounts(const std::map<v1::CompressionJob::State, int64_t>& counts);
// calipress_job_oldest_queued_timestamp_seconds; 0: none is queued.
void SetOldestQueued(double timestamp_seconds);
// calipress_workers{device,state}.
void SetWorkers(const std::vector<v1::WorkerInfo>& workers);
// calipress_leases{state}.
void SetLeases(const scheduler::Scheduler& scheduler);
// calipress_lease_expirations_total.
void CountLeaseExpirations(int64_t expirations);
// calipress_job_queue_seconds.
void ObserveQueueTime(double seconds);
// calipress_jobs_finished_total{outcome,reason,method} and calipress_job_duration_seconds{method,outcome}.
void CountFinishedJob(const v1::CompressionJob& job, double seconds, const absl::Status& error);
// calipress_job_attempts_total{outcome,reason}.
void CountAttempt(scheduler::AttemptOutcome outcome, const absl::Status& cause);
// calipress_publish_seconds{outcome}.
void ObservePublish(double seconds, bool succeeded);
// calipress_sweeps_total{outcome}.
void CountSweep(bool succeeded);
// calipress_refused_reports_total: reports under stale leases, finished blocks that do not belong.
void CountRefusedReport(const std::string& what);

// Observes calipress_scheduler_decision_seconds over its life.
class DecisionTimer {
 public:
  DecisionTimer() = default;
  ~DecisionTimer();
  DecisionTimer(const DecisionTimer&) = delete;
  DecisionTimer& operator=(const DecisionTimer&) = delete;

 private:
  Stopwatch watch_;
};

}  // namespace calipress::fleet
