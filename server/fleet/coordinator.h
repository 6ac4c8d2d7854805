#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/v1/compression_service.pb.h"
#include "calipress/v1/event.pb.h"
#include "calipress/v1/job.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/base/clock.h"
#include "server/fleet/publisher.h"
#include "server/scheduler/scheduler.h"
#include "server/store/job_store.h"

namespace calipress::fleet {

struct CoordinatorOptions {
  scheduler::Options scheduler;
  // Jobs that have not ended; one more is refused with QUEUE_FULL.
  int max_unfinished_jobs = 1000;
  // When workers are told to call again.
  double idle_synchronize_seconds = 1;
  double busy_synchronize_seconds = 1;
  // How often expiries are looked at.
  double tick_seconds = 0.5;
  // Least time between two progress events of a job.
  double progress_seconds = 0.5;
  // Tries of Publisher::Publish after failures of class environment, and the pause before the second (doubled after).
  int publish_tries = 4;
  double publish_retry_seconds = 2;
  // Tries of Publisher::Sweep in one life of the coordinator (a restart tries again), and the pause likewise.
  int sweep_tries = 6;
  double sweep_retry_seconds = 10;
};

// A request that admission has let through.
struct Submission {
  // Recipe resolved, estimate set (estimate.blocks is the model's number of blocks). Output-only fields other than
  // estimate are ignored.
  v1::CompressionJob job;
  // The id in the name; empty: one is made.
  std::string job_id;
  // Empty: not idempotent.
  std::string request_id;
  // Digest of the request as it was sent (not of the resolved job).
  std::string request_digest;
};

// Part of a job's history.
struct EventPage {
  std::vector<v1::JobEvent> events;
  // No event follows these: the job has ended.
  bool ended = false;
};

bool HasEnded(v1::CompressionJob::State state);

// Owns jobs, workers and their leases: the scheduler decides, the store remembers, the publisher publishes.
// Thread-safe; calls take no longer than a database write.
class Coordinator {
 public:
  // Rebuilds its state from `store`: jobs under way go on when their workers report. `options`, `store`, `publisher`
  // and `clock` outlive it. Nothing runs on its own before Start.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(const CoordinatorOptions& options, store::JobStore* store,
                                                             Publisher* publisher,
                                                             const Clock& clock = Clock::System());
  virtual ~Coordinator() = default;

  // Starts the threads that look at expiries and that publish. Stop (or the destructor) waits for the publication
  // under way, if any; jobs stay as they are in the store.
  virtual void Start() = 0;
  virtual void Stop() = 0;

  // The job that a request id made, or nothing. ALREADY_EXISTS with REQUEST_ID_REUSED where its body was another one.
  // To be asked before admission: a repeated request must not be checked against its own output.
  virtual absl::StatusOr<std::optional<v1::CompressionJob>> FindByRequest(std::string_view request_id,
                                                                          std::string_view request_digest) = 0;

  // Queues a job. A known request id gives its job, as FindByRequest does. ALREADY_EXISTS with JOB_EXISTS where the id
  // is taken, FAILED_PRECONDITION with OUTPUT_EXISTS where a job under way writes to the same output,
  // RESOURCE_EXHAUSTED with QUEUE_FULL.
  virtual absl::StatusOr<v1::CompressionJob> Submit(const Submission& submission) = 0;

  // By name ("compressionJobs/{id}"), with its report; NOT_FOUND with JOB_NOT_FOUND.
  virtual absl::StatusOr<v1::CompressionJob> Get(std::string_view name) = 0;

  // A page, newest first, without reports. INVALID_ARGUMENT with violations for a negative page_size or a page_token
  // that is not from such a request.
  virtual absl::StatusOr<v1::ListCompressionJobsResponse> List(const v1::ListCompressionJobsRequest& request) = 0;

  // Asks a job to stop; one that has ended is returned as it is. ABORTED where `etag` is given and the job has another.
  // (Etags change with the state and the attempt, not with progress.)
  virtual absl::StatusOr<v1::CompressionJob> Cancel(std::string_view name, std::string_view etag) = 0;

  // Forgets a job that has ended; FAILED_PRECONDITION with JOB_NOT_TERMINAL before that.
  virtual absl::Status Delete(std::string_view name) = 0;

  // At most `limit` events after a sequence; never waits.
  virtual absl::StatusOr<EventPage> Events(std::string_view name, int64_t after_sequence, int limit) = 0;

  // Calls `on_news` whenever Events of the job may have more to say (also when it was deleted: Events then gives
  // NOT_FOUND), until the returned object is gone. Subscribe first, then read: nothing is missed. `on_news` runs on
  // whichever thread made the news, without locks held (it may call Events), and should be quick. The returned object's
  // destructor waits for a running call, unless it is that call which destroys it.
  [[nodiscard]] virtual std::shared_ptr<void> Subscribe(std::string_view name, std::function<void()> on_news) = 0;

  // Every worker heard of lately, by id.
  virtual std::vector<v1::WorkerInfo> Workers() = 0;

  // What a worker says and what it should be doing. INVALID_ARGUMENT for a request without ids or beyond bounds;
  // UNAVAILABLE where the store is. A stale lease is no error: the answer then has no assignment for it.
  virtual absl::StatusOr<worker::v1::SynchronizeResponse> Synchronize(
      const worker::v1::SynchronizeRequest& request) = 0;

  // What the threads of Start do, for tests: looks at expiries and starts what can start; publishes and sweeps
  // everything that is due.
  virtual void Tick() = 0;
  virtual void RunPublishing() = 0;
};

}  // namespace calipress::fleet
