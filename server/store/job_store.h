#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/v1/event.pb.h"
#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"

namespace calipress::store {

// A job as it was accepted, or as it is now. `job.report` is never set: reports are kept apart (GetReport).
struct JobRow {
  v1::CompressionJob job;
  // Empty: none was given. Kept as long as the job.
  std::string request_id;
  // Digest of the body that came with request_id.
  std::string request_digest;
  // Newest first is descending `order`; unique, never used again.
  int64_t order = 0;
};

// One rank of an attempt.
struct LeaseRow {
  int rank = 0;
  std::string token;
  std::string worker_id;
  std::string session_id;
  std::string device;
  int first_block = 0;
  int end_block = 0;
  // scheduler::LeaseState; the store does not read it.
  int state = 0;
  // What the rank last said that the report needs: phases, and the outcome once it has ended.
  worker::v1::StageState stage;
};

// The newest attempt of a job that has not ended; earlier ones live on in the job's events.
struct AttemptRow {
  int number = 0;
  // scheduler::AttemptPhase; the store does not read it.
  int phase = 0;
  std::string rendezvous;
  std::vector<LeaseRow> leases;
};

// A block that some attempt finished; the first one accepted stays.
struct BlockRow {
  int attempt = 0;
  worker::v1::FinishedBlock block;
};

// One atomic change of one job. Unset parts stay as they are.
struct JobChange {
  std::string uid;
  std::optional<v1::CompressionJob> job;
  std::optional<v1::Report> report;
  // Replaces the stored attempt and its leases.
  std::optional<AttemptRow> attempt;
  // Phases that ended attempts reported, so that the report covers the whole job.
  std::optional<worker::v1::StageState> earlier_phases;
  std::optional<std::string> calibration_ids_uri;
  // Blocks already there are left as they are.
  std::vector<BlockRow> blocks;
  // Appended; the store sets their sequences.
  std::vector<v1::JobEvent> events;
  // Whether files of the job may still lie in its staging folder.
  std::optional<bool> needs_sweep;
};

// What the coordinator needs to go on with a job.
struct ActiveJob {
  JobRow row;
  std::optional<AttemptRow> attempt;
  worker::v1::StageState earlier_phases;
  std::string calibration_ids_uri;
  std::vector<BlockRow> blocks;
};

struct ListQuery {
  // Empty: all.
  std::vector<v1::CompressionJob::State> states;
  // Only jobs with a smaller order; 0: from the newest.
  int64_t before_order = 0;
  int limit = 50;
};

// Jobs, their events, current attempts and finished blocks, kept over restarts. The one seam to databases. Thread-safe.
//
// One call is one transaction: it happens whole or not at all. NOT_FOUND carries JOB_NOT_FOUND; a database that fails
// or is locked gives UNAVAILABLE with STORE_UNAVAILABLE (calls may be repeated). Every call is metered
// (calipress_jobstore_request_duration_seconds).
class JobStore {
 public:
  virtual ~JobStore() = default;

  // Stores a new job with its first events and returns its order. ALREADY_EXISTS with JOB_EXISTS where the name is
  // taken, with REQUEST_ID_REUSED where the request id is.
  virtual absl::StatusOr<int64_t> Create(const JobRow& row, const std::vector<v1::JobEvent>& events) = 0;
  virtual absl::StatusOr<JobRow> Get(std::string_view name) = 0;
  // Nothing where no job has that request id.
  virtual absl::StatusOr<std::optional<JobRow>> FindByRequest(std::string_view request_id) = 0;
  // Empty report where none is stored.
  virtual absl::StatusOr<v1::Report> GetReport(std::string_view uid) = 0;
  // Newest first.
  virtual absl::StatusOr<std::vector<JobRow>> List(const ListQuery& query) = 0;
  virtual absl::StatusOr<std::map<v1::CompressionJob::State, int64_t>> CountByState() = 0;
  // NOT_FOUND where the job is not there (any more). A job that has ended loses its attempt and its blocks: its report
  // has what is worth keeping.
  virtual absl::Status Apply(const JobChange& change) = 0;
  // With its events, attempt and blocks. What it may have left in its staging folder stays known to LoadUnswept, until
  // Apply says that it was swept up.
  virtual absl::Status Delete(std::string_view uid) = 0;
  // Events with a sequence above `after`, oldest first.
  virtual absl::StatusOr<std::vector<v1::JobEvent>> Events(std::string_view uid, int64_t after, int limit) = 0;
  // Every job that has not ended, oldest first.
  virtual absl::StatusOr<std::vector<ActiveJob>> LoadActive() = 0;
  // Jobs that have ended, also deleted ones, and may have left files.
  virtual absl::StatusOr<std::vector<v1::CompressionJob>> LoadUnswept() = 0;
};

// The store in a SQLite file (made with its schema if missing; its folder must exist), or in memory for ":memory:".
// Older schemas are brought up to date; FAILED_PRECONDITION where a newer calipress wrote the file.
absl::StatusOr<std::unique_ptr<JobStore>> OpenSqliteJobStore(const std::string& path);

}  // namespace calipress::store
