#include "server/fleet/fleet_metrics.h"

#include "absl/strings/ascii.h"
#include "compress/base/error.h"
#include "compress/base/metrics.h"
#include "server/fleet/working_job.h"

namespace calipress::fleet {
namespace {

// "QUEUED" -> "queued".
std::string StateLabel(v1::CompressionJob::State state) {
  return absl::AsciiStrToLower(v1::CompressionJob::State_Name(state));
}

const char* LeaseLabel(scheduler::LeaseState state) {
  switch (state) {
    case scheduler::LeaseState::kLive:
      return "live";
    case scheduler::LeaseState::kStopping:
      return "stopping";
    case scheduler::LeaseState::kDone:
      return "done";
    case scheduler::LeaseState::kFailed:
    case scheduler::LeaseState::kStopped:
    case scheduler::LeaseState::kLost:
      return "ended";
  }
  return "ended";
}

prometheus::Histogram::BucketBoundaries JobBuckets() {
  return {1, 5, 15, 30, 60, 120, 300, 600, 1200, 2400, 4800, 9600, 19200, 38400};
}

std::string ReasonLabel(const absl::Status& status) { return status.ok() ? "none" : ErrorReason(status); }

}  // namespace

void SetJobCounts(const std::map<v1::CompressionJob::State, int64_t>& counts) {
  static auto& family = GaugeFamily("calipress_jobs", "Jobs that the store has, by state.");
  for (int state = v1::CompressionJob::QUEUED; state <= v1::CompressionJob::CANCELLED; ++state) {
    const auto value = static_cast<v1::CompressionJob::State>(state);
    const auto it = counts.find(value);
    family.Add({{"state", StateLabel(value)}}).Set(it == counts.end() ? 0 : static_cast<double>(it->second));
  }
}

void SetOldestQueued(double timestamp_seconds) {
  static auto& gauge = GaugeFamily("calipress_job_oldest_queued_timestamp_seconds",
                                   "When the longest waiting queued job was made; 0 without one.")
                           .Add({});
  gauge.Set(timestamp_seconds);
}

void SetWorkers(const std::vector<v1::WorkerInfo>& workers) {
  static auto& family = GaugeFamily("calipress_workers", "Workers heard of lately, by device kind and state.");
  for (const std::string device : {"cpu", "cuda"}) {
    for (int state = v1::WorkerInfo::IDLE; state <= v1::WorkerInfo::LOST; ++state) {
      const auto value = static_cast<v1::WorkerInfo::State>(state);
      int count = 0;
      for (const v1::WorkerInfo& worker : workers) count += worker.device() == device && worker.state() == value;
      family.Add({{"device", device}, {"state", absl::AsciiStrToLower(v1::WorkerInfo::State_Name(value))}}).Set(count);
    }
  }
}

void SetLeases(const scheduler::Scheduler& scheduler) {
  static auto& family = GaugeFamily("calipress_leases", "Leases of attempts under way, by state.");
  std::map<std::string, int> counts = {{"live", 0}, {"stopping", 0}, {"done", 0}, {"ended", 0}};
  for (const scheduler::Job& job : scheduler.jobs()) {
    if (!job.attempt.HoldsWorkers()) continue;
    for (const scheduler::Lease& lease : job.attempt.leases) ++counts[LeaseLabel(lease.state)];
  }
  for (const auto& [state, count] : counts) family.Add({{"state", state}}).Set(count);
}

void CountLeaseExpirations(int64_t expirations) {
  static auto& counter =
      CounterFamily("calipress_lease_expirations_total", "Leases that ended because their worker was silent.").Add({});
  counter.Increment(static_cast<double>(expirations));
}

void ObserveQueueTime(double seconds) {
  static auto& histogram =
      HistogramFamily("calipress_job_queue_seconds", "Seconds from a job's acceptance to its first attempt.")
          .Add({}, JobBuckets());
  histogram.Observe(seconds);
}

void CountFinishedJob(const v1::CompressionJob& job, double seconds, const absl::Status& error) {
  static auto& finished =
      CounterFamily("calipress_jobs_finished_total", "Jobs that ended, by outcome, reason and method.");
  static auto& duration =
      HistogramFamily("calipress_job_duration_seconds", "Seconds from a job's first attempt to its end.");
  const std::string outcome = StateLabel(job.state());
  const std::string method = MethodLabel(job.recipe());
  finished.Add({{"outcome", outcome}, {"reason", ReasonLabel(error)}, {"method", method}}).Increment();
  duration.Add({{"method", method}, {"outcome", outcome}}, JobBuckets()).Observe(seconds);
}

void CountAttempt(scheduler::AttemptOutcome outcome, const absl::Status& cause) {
  static auto& family = CounterFamily("calipress_job_attempts_total", "Attempts that ended, by outcome and reason.");
  family.Add({{"outcome", std::string(scheduler::AttemptOutcomeName(outcome))}, {"reason", ReasonLabel(cause)}})
      .Increment();
}

void ObservePublish(double seconds, bool succeeded) {
  static auto& family = HistogramFamily("calipress_publish_seconds", "Seconds per try to publish a job's output.");
  family.Add({{"outcome", succeeded ? "succeeded" : "failed"}}, StageBuckets()).Observe(seconds);
}

void CountSweep(bool succeeded) {
  static auto& family = CounterFamily("calipress_sweeps_total", "Tries to remove what ended jobs have left.");
  family.Add({{"outcome", succeeded ? "succeeded" : "failed"}}).Increment();
}

void CountRefusedReport(const std::string& what) {
  static auto& family = CounterFamily("calipress_refused_reports_total",
                                      "Workers' reports that were not taken: stale leases, blocks that do not belong.");
  family.Add({{"what", what}}).Increment();
}

DecisionTimer::~DecisionTimer() {
  static auto& family = HistogramFamily("calipress_scheduler_decision_seconds", "Seconds per event of the scheduler.");
  static auto& histogram =
      family.Add({}, prometheus::Histogram::BucketBoundaries{0.00001, 0.0001, 0.001, 0.01, 0.1, 1});
  histogram.Observe(watch_.Seconds());
}

}  // namespace calipress::fleet
