#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/fleet/coordinator.h"
#include "server/fleet/subscriptions.h"
#include "server/fleet/working_job.h"

namespace calipress::fleet {

// The one implementation of Coordinator, over three files: what clients ask (coordinator.cc), what workers say and the
// scheduler decides (coordinator_workers.cc), publishing and sweeping (coordinator_publish.cc).
//
// Every event goes the same way: under the lock the scheduler hears it, its decisions change jobs in memory, and Flush
// writes what has changed. Where the store fails, changes stay pending in order and are written by the next Flush; no
// worker is told of work that the store does not know.
class CoordinatorImpl : public Coordinator {
 public:
  CoordinatorImpl(const CoordinatorOptions& options, store::JobStore* store, Publisher* publisher, const Clock& clock);
  ~CoordinatorImpl() override;

  // Called once, before anything else.
  absl::Status Restore();

  void Start() override;
  void Stop() override;
  absl::StatusOr<std::optional<v1::CompressionJob>> FindByRequest(std::string_view request_id,
                                                                  std::string_view request_digest) override;
  absl::StatusOr<v1::CompressionJob> Submit(const Submission& submission) override;
  absl::StatusOr<v1::CompressionJob> Get(std::string_view name) override;
  absl::StatusOr<v1::ListCompressionJobsResponse> List(const v1::ListCompressionJobsRequest& request) override;
  absl::StatusOr<v1::CompressionJob> Cancel(std::string_view name, std::string_view etag) override;
  absl::Status Delete(std::string_view name) override;
  absl::StatusOr<EventPage> Events(std::string_view name, int64_t after_sequence, int limit) override;
  std::shared_ptr<void> Subscribe(std::string_view name, std::function<void()> on_news) override;
  std::vector<v1::WorkerInfo> Workers() override;
  absl::StatusOr<worker::v1::SynchronizeResponse> Synchronize(const worker::v1::SynchronizeRequest& request) override;
  void Tick() override;
  void RunPublishing() override;

 private:
  // Holds the lock; after letting it go, tells subscribers what has happened meanwhile.
  class Section;
  // A job that has ended, whose files are to be swept up.
  struct DueSweep {
    v1::CompressionJob job;
    int tries = 0;
    Clock::SteadyTime at;
  };

  // --- all below: under the lock ---
  WorkingJob* FindWorking(std::string_view name);
  // As people see it: with what a queued job waits for.
  v1::CompressionJob Shown(const WorkingJob& working) const;
  absl::StatusOr<std::optional<v1::CompressionJob>> FindRequest(std::string_view request_id,
                                                                std::string_view request_digest);
  // Of a job that has ended, where there is one.
  absl::Status AddReport(v1::CompressionJob* job) const;
  absl::Status CheckOutputFree(const v1::CompressionJob& job) const;
  void SetState(WorkingJob& working, v1::CompressionJob::State state);
  // Writes every pending change; jobs that have ended and are written leave the memory.
  absl::Status Flush();
  void RefreshGauges();
  std::vector<v1::WorkerInfo> ListWorkers() const;

  // coordinator_workers.cc
  void ApplyDecisions();
  void OnAttemptStarted(WorkingJob& working);
  void OnAttemptStopping(WorkingJob& working, const scheduler::Decision& decision);
  void OnAttemptEnded(WorkingJob& working, const scheduler::Decision& decision);
  void OnPublish(WorkingJob& working);
  // Ends the job: state, error, event, metrics.
  void EndJob(WorkingJob& working, v1::CompressionJob::State state, const absl::Status& error,
              const std::string& message);
  void TakeStage(WorkingJob& working, const scheduler::Attempt& attempt, int rank, worker::v1::StageState stage);
  void TakeBlocks(WorkingJob& working, const scheduler::Attempt& attempt, int rank,
                  const worker::v1::StageState& stage);
  void ReportProgress(WorkingJob& working, const scheduler::Attempt& attempt);
  worker::v1::Assignment MakeAssignment(const scheduler::Job& job, const scheduler::Lease& lease) const;

  // coordinator_publish.cc
  WorkingJob* NextToPublish();
  // Takes one whose pause is over out of to_sweep_; nothing where there is none.
  std::optional<DueSweep> TakeDueSweep();
  bool HasDueSweep() const;
  // Both let the lock go while storage works.
  void PublishOne(std::unique_lock<std::mutex>& lock, WorkingJob& working);
  void SweepOne(std::unique_lock<std::mutex>& lock, DueSweep sweep);
  void AfterPublish(WorkingJob& working, const absl::Status& status, const v1::Report& report);
  void EndWithoutResult(WorkingJob& working, const absl::Status& cause);
  void RunDue(bool sweep_only);
  void PublishLoop();
  void TickLoop();

  const CoordinatorOptions options_;
  store::JobStore* const store_;
  Publisher* const publisher_;
  const Clock& clock_;
  Subscriptions subscriptions_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  scheduler::Scheduler scheduler_;
  // Jobs that have not ended, or whose end is not written yet; by uid.
  std::map<std::string, WorkingJob, std::less<>> working_;
  std::map<std::string, std::string, std::less<>> uid_of_name_;
  // Names whose subscribers have something to hear.
  std::set<std::string> news_;
  std::deque<DueSweep> to_sweep_;
  std::map<std::string, worker::v1::Capabilities> capabilities_;
  std::map<v1::CompressionJob::State, int64_t> counts_;
  int64_t expirations_counted_ = 0;

  std::jthread tick_thread_;
  std::jthread publish_thread_;
};

// The lock, and the news to tell once it is released.
class CoordinatorImpl::Section {
 public:
  explicit Section(CoordinatorImpl& owner) : owner_(owner), lock_(owner.mutex_) {}
  ~Section();
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;
  std::unique_lock<std::mutex>& lock() { return lock_; }
  // Tells the news so far; the lock is held again afterwards.
  void TellNews();

 private:
  CoordinatorImpl& owner_;
  std::unique_lock<std::mutex> lock_;
};

}  // namespace calipress::fleet
