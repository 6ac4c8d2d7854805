// The job store in SQLite. One connection under one lock: writes are serial in SQLite anyway, and reads are short.
#include <array>
#include <mutex>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "server/store/job_store.h"
#include "server/store/sqlite_database.h"
#include "server/store/sqlite_migrations.h"
#include "server/store/store_metrics.h"

namespace calipress::store {
namespace {

constexpr v1::CompressionJob::State kEndedStates[] = {v1::CompressionJob::SUCCEEDED, v1::CompressionJob::FAILED,
                                                      v1::CompressionJob::CANCELLED};

bool Ended(v1::CompressionJob::State state) {
  for (const auto ended : kEndedStates) {
    if (state == ended) return true;
  }
  return false;
}

template <typename T>
absl::StatusOr<T> Parse(const std::string& bytes, std::string_view what) {
  T message;
  if (!message.ParseFromString(bytes)) {
    return DefectError(
        absl::StrCat("a stored ", std::string(what), " is damaged; restore the job store from a backup"));
  }
  return message;
}

std::string JobBytes(const v1::CompressionJob& job) {
  if (!job.has_report()) return job.SerializeAsString();
  v1::CompressionJob bare = job;
  bare.clear_report();
  return bare.SerializeAsString();
}

absl::Status NotFound(std::string_view what) {
  return MakeError(absl::StatusCode::kNotFound, reason::kJobNotFound, ErrorClass::kUser,
                   absl::StrCat("there is no job ", std::string(what)));
}

constexpr char kRowColumns[] = "SELECT position, job, coalesce(request_id, ''), request_digest FROM jobs ";

absl::StatusOr<JobRow> ReadRow(const SqliteStatement& statement) {
  JobRow row;
  row.order = statement.Int(0);
  CALIPRESS_ASSIGN_OR_RETURN(row.job, Parse<v1::CompressionJob>(statement.Blob(1), "job"));
  row.request_id = statement.Text(2);
  row.request_digest = statement.Text(3);
  return row;
}

class SqliteJobStore : public JobStore {
 public:
  explicit SqliteJobStore(std::unique_ptr<SqliteDatabase> database) : database_(std::move(database)) {}

  absl::StatusOr<int64_t> Create(const JobRow& row, const std::vector<v1::JobEvent>& events) override {
    return Call("create", [&]() -> absl::StatusOr<int64_t> { return DoCreate(row, events); });
  }

  absl::StatusOr<JobRow> Get(std::string_view name) override {
    return Call("get", [&]() -> absl::StatusOr<JobRow> {
      SqliteStatement query = Sql(absl::StrCat(kRowColumns, "WHERE name = ?"));
      CALIPRESS_ASSIGN_OR_RETURN(const bool found, query.BindText(1, name).Step());
      if (!found) return NotFound(name);
      return ReadRow(query);
    });
  }

  absl::StatusOr<std::optional<JobRow>> FindByRequest(std::string_view request_id) override {
    return Call("find_by_request", [&]() -> absl::StatusOr<std::optional<JobRow>> {
      SqliteStatement query = Sql(absl::StrCat(kRowColumns, "WHERE request_id = ?"));
      CALIPRESS_ASSIGN_OR_RETURN(const bool found, query.BindText(1, request_id).Step());
      if (!found) return std::optional<JobRow>();
      CALIPRESS_ASSIGN_OR_RETURN(JobRow row, ReadRow(query));
      return std::optional<JobRow>(std::move(row));
    });
  }

  absl::StatusOr<v1::Report> GetReport(std::string_view uid) override {
    return Call("get_report", [&]() -> absl::StatusOr<v1::Report> {
      SqliteStatement query = Sql("SELECT report FROM jobs WHERE uid = ?");
      CALIPRESS_ASSIGN_OR_RETURN(const bool found, query.BindText(1, uid).Step());
      if (!found) return NotFound(absl::StrCat("with uid ", std::string(uid)).c_str());
      return Parse<v1::Report>(query.Blob(0), "report");
    });
  }

  absl::StatusOr<std::vector<JobRow>> List(const ListQuery& list) override {
    return Call("list", [&]() -> absl::StatusOr<std::vector<JobRow>> {
      std::string sql = absl::StrCat(kRowColumns, "WHERE position < ?");
      for (size_t i = 0; i < list.states.size(); ++i) absl::StrAppend(&sql, i == 0 ? " AND state IN (?" : ", ?");
      if (!list.states.empty()) absl::StrAppend(&sql, ")");
      absl::StrAppend(&sql, " ORDER BY position DESC LIMIT ?");
      SqliteStatement query = Sql(sql);
      int parameter = 0;
      query.Bind(++parameter, list.before_order > 0 ? list.before_order : INT64_MAX);
      for (const auto state : list.states) query.Bind(++parameter, state);
      query.Bind(++parameter, list.limit);
      std::vector<JobRow> rows;
      while (true) {
        CALIPRESS_ASSIGN_OR_RETURN(const bool more, query.Step());
        if (!more) return rows;
        CALIPRESS_ASSIGN_OR_RETURN(rows.emplace_back(), ReadRow(query));
      }
    });
  }

  absl::StatusOr<std::map<v1::CompressionJob::State, int64_t>> CountByState() override {
    using Counts = std::map<v1::CompressionJob::State, int64_t>;
    return Call("count", [&]() -> absl::StatusOr<Counts> {
      SqliteStatement query = Sql("SELECT state, count(*) FROM jobs GROUP BY state");
      Counts counts;
      while (true) {
        CALIPRESS_ASSIGN_OR_RETURN(const bool more, query.Step());
        if (!more) return counts;
        counts[static_cast<v1::CompressionJob::State>(query.Int(0))] = query.Int(1);
      }
    });
  }

  absl::Status Apply(const JobChange& change) override {
    return Call("apply", [&] { return DoApply(change); });
  }

  absl::Status Delete(std::string_view uid) override {
    return Call("delete", [&]() -> absl::Status {
      CALIPRESS_ASSIGN_OR_RETURN(SqliteTransaction transaction, SqliteTransaction::Begin(*database_));
      CALIPRESS_RETURN_IF_ERROR(Sql("INSERT INTO deleted_unswept (position, uid, job) "
                                    "SELECT position, uid, job FROM jobs WHERE uid = ? AND needs_sweep = 1")
                                    .BindText(1, uid)
                                    .Run());
      CALIPRESS_RETURN_IF_ERROR(Sql("DELETE FROM jobs WHERE uid = ?").BindText(1, uid).Run());
      if (database_->Changes() > 0) return transaction.Commit();
      return NotFound(absl::StrCat("with uid ", std::string(uid)).c_str());
    });
  }

  absl::StatusOr<std::vector<v1::JobEvent>> Events(std::string_view uid, int64_t after, int limit) override {
    return Call("events", [&]() -> absl::StatusOr<std::vector<v1::JobEvent>> {
      SqliteStatement query =
          Sql("SELECT event FROM events WHERE job = (SELECT position FROM jobs WHERE uid = ?) AND sequence > ? "
              "ORDER BY sequence LIMIT ?");
      query.BindText(1, uid).Bind(2, after).Bind(3, limit);
      std::vector<v1::JobEvent> events;
      while (true) {
        CALIPRESS_ASSIGN_OR_RETURN(const bool more, query.Step());
        if (!more) return events;
        CALIPRESS_ASSIGN_OR_RETURN(events.emplace_back(), Parse<v1::JobEvent>(query.Blob(0), "event"));
      }
    });
  }

  absl::StatusOr<std::vector<ActiveJob>> LoadActive() override {
    return Call("load_active", [&] { return DoLoadActive(); });
  }

  absl::StatusOr<std::vector<v1::CompressionJob>> LoadUnswept() override {
    return Call("load_unswept", [&]() -> absl::StatusOr<std::vector<v1::CompressionJob>> {
      SqliteStatement query =
          Sql("SELECT position, job FROM jobs WHERE needs_sweep = 1 AND state IN (?, ?, ?) "
              "UNION ALL SELECT position, job FROM deleted_unswept ORDER BY position");
      for (int i = 0; i < 3; ++i) query.Bind(i + 1, kEndedStates[i]);
      std::vector<v1::CompressionJob> jobs;
      while (true) {
        CALIPRESS_ASSIGN_OR_RETURN(const bool more, query.Step());
        if (!more) return jobs;
        CALIPRESS_ASSIGN_OR_RETURN(jobs.emplace_back(), Parse<v1::CompressionJob>(query.Blob(1), "job"));
      }
    });
  }

 private:
  // Runs one operation under the lock, and meters it.
  template <typename Body>
  auto Call(const char* operation, Body body) -> decltype(body()) {
    StoreCall call(operation);
    std::lock_guard lock(mutex_);
    auto result = body();
    if constexpr (std::is_same_v<decltype(result), absl::Status>) {
      (void)call.Note(result);
    } else {
      (void)call.Note(result.status());
    }
    return result;
  }

  SqliteStatement Sql(const std::string& sql) { return database_->Prepare(sql); }

  absl::StatusOr<int64_t> DoCreate(const JobRow& row, const std::vector<v1::JobEvent>& events) {
    CALIPRESS_ASSIGN_OR_RETURN(SqliteTransaction transaction, SqliteTransaction::Begin(*database_));
    if (!row.request_id.empty()) {
      SqliteStatement query = Sql("SELECT 1 FROM jobs WHERE request_id = ?");
      CALIPRESS_ASSIGN_OR_RETURN(const bool taken, query.BindText(1, row.request_id).Step());
      if (taken) {
        return MakeError(absl::StatusCode::kAlreadyExists, reason::kRequestIdReused, ErrorClass::kUser,
                         absl::StrCat("request_id ", row.request_id, " was used before; use a new one"));
      }
    }
    {
      SqliteStatement query = Sql("SELECT 1 FROM jobs WHERE name = ?");
      CALIPRESS_ASSIGN_OR_RETURN(const bool taken, query.BindText(1, row.job.name()).Step());
      if (taken) {
        return MakeError(absl::StatusCode::kAlreadyExists, reason::kJobExists, ErrorClass::kUser,
                         absl::StrCat("the job ", row.job.name(), " exists already; choose another id"));
      }
    }
    SqliteStatement insert =
        Sql("INSERT INTO jobs (uid, name, state, create_time_micros, request_digest, job, request_id) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)");
    insert.BindText(1, row.job.uid())
        .BindText(2, row.job.name())
        .Bind(3, row.job.state())
        .Bind(4, row.job.create_time().seconds() * 1000000 + row.job.create_time().nanos() / 1000)
        .BindText(5, row.request_digest)
        .BindBlob(6, JobBytes(row.job));
    if (!row.request_id.empty()) insert.BindText(7, row.request_id);
    CALIPRESS_RETURN_IF_ERROR(insert.Run());
    const int64_t position = database_->LastInsertId();
    CALIPRESS_RETURN_IF_ERROR(AddEvents(position, events));
    CALIPRESS_RETURN_IF_ERROR(transaction.Commit());
    return position;
  }

  absl::Status AddEvents(int64_t position, const std::vector<v1::JobEvent>& events) {
    if (events.empty()) return absl::OkStatus();
    int64_t last = 0;
    {
      SqliteStatement query = Sql("SELECT coalesce(max(sequence), 0) FROM events WHERE job = ?");
      CALIPRESS_RETURN_IF_ERROR(query.Bind(1, position).Step().status());
      last = query.Int(0);
    }
    for (v1::JobEvent event : events) {
      event.set_sequence(++last);
      CALIPRESS_RETURN_IF_ERROR(Sql("INSERT INTO events (job, sequence, event) VALUES (?, ?, ?)")
                                    .Bind(1, position)
                                    .Bind(2, last)
                                    .BindBlob(3, event.SerializeAsString())
                                    .Run());
    }
    return absl::OkStatus();
  }

  absl::Status DoApply(const JobChange& change) {
    CALIPRESS_ASSIGN_OR_RETURN(SqliteTransaction transaction, SqliteTransaction::Begin(*database_));
    int64_t position = 0;
    {
      SqliteStatement query = Sql("SELECT position FROM jobs WHERE uid = ?");
      CALIPRESS_ASSIGN_OR_RETURN(const bool found, query.BindText(1, change.uid).Step());
      if (!found) return ApplyToDeleted(change, transaction);
      position = query.Int(0);
    }
    if (change.job) {
      CALIPRESS_RETURN_IF_ERROR(Sql("UPDATE jobs SET state = ?, job = ? WHERE position = ?")
                                    .Bind(1, change.job->state())
                                    .BindBlob(2, JobBytes(*change.job))
                                    .Bind(3, position)
                                    .Run());
    }
    if (change.report) {
      CALIPRESS_RETURN_IF_ERROR(SetBlob("report", change.report->SerializeAsString(), position));
    }
    if (change.earlier_phases) {
      CALIPRESS_RETURN_IF_ERROR(SetBlob("earlier_phases", change.earlier_phases->SerializeAsString(), position));
    }
    if (change.calibration_ids_uri) {
      CALIPRESS_RETURN_IF_ERROR(SetBlob("calibration_ids_uri", *change.calibration_ids_uri, position));
    }
    if (change.needs_sweep) {
      CALIPRESS_RETURN_IF_ERROR(Sql("UPDATE jobs SET needs_sweep = ? WHERE position = ?")
                                    .Bind(1, *change.needs_sweep ? 1 : 0)
                                    .Bind(2, position)
                                    .Run());
    }
    if (change.attempt) CALIPRESS_RETURN_IF_ERROR(SetAttempt(position, *change.attempt));
    for (const BlockRow& block : change.blocks) {
      CALIPRESS_RETURN_IF_ERROR(
          Sql("INSERT OR IGNORE INTO finished_blocks (job, block, attempt, finished_block) VALUES (?, ?, ?, ?)")
              .Bind(1, position)
              .Bind(2, block.block.index())
              .Bind(3, block.attempt)
              .BindBlob(4, block.block.SerializeAsString())
              .Run());
    }
    CALIPRESS_RETURN_IF_ERROR(AddEvents(position, change.events));
    if (change.job && Ended(change.job->state())) {
      CALIPRESS_RETURN_IF_ERROR(Sql("DELETE FROM attempts WHERE job = ?").Bind(1, position).Run());
      CALIPRESS_RETURN_IF_ERROR(Sql("DELETE FROM finished_blocks WHERE job = ?").Bind(1, position).Run());
    }
    return transaction.Commit();
  }

  // All that can still happen to a deleted job is that its files are swept up.
  absl::Status ApplyToDeleted(const JobChange& change, SqliteTransaction& transaction) {
    if (change.needs_sweep == false) {
      CALIPRESS_RETURN_IF_ERROR(Sql("DELETE FROM deleted_unswept WHERE uid = ?").BindText(1, change.uid).Run());
      if (database_->Changes() > 0) return transaction.Commit();
    }
    return NotFound(absl::StrCat("with uid ", change.uid).c_str());
  }

  absl::Status SetBlob(const char* column, const std::string& bytes, int64_t position) {
    return Sql(absl::StrCat("UPDATE jobs SET ", column, " = ? WHERE position = ?"))
        .BindBlob(1, bytes)
        .Bind(2, position)
        .Run();
  }

  absl::Status SetAttempt(int64_t position, const AttemptRow& attempt) {
    CALIPRESS_RETURN_IF_ERROR(Sql("DELETE FROM attempts WHERE job = ?").Bind(1, position).Run());
    CALIPRESS_RETURN_IF_ERROR(Sql("INSERT INTO attempts (job, number, phase, rendezvous) VALUES (?, ?, ?, ?)")
                                  .Bind(1, position)
                                  .Bind(2, attempt.number)
                                  .Bind(3, attempt.phase)
                                  .BindText(4, attempt.rendezvous)
                                  .Run());
    for (const LeaseRow& lease : attempt.leases) {
      CALIPRESS_RETURN_IF_ERROR(
          Sql("INSERT INTO leases (job, rank, token, worker_id, session_id, device, first_block, end_block, state, "
              "stage) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
              .Bind(1, position)
              .Bind(2, lease.rank)
              .BindText(3, lease.token)
              .BindText(4, lease.worker_id)
              .BindText(5, lease.session_id)
              .BindText(6, lease.device)
              .Bind(7, lease.first_block)
              .Bind(8, lease.end_block)
              .Bind(9, lease.state)
              .BindBlob(10, lease.stage.SerializeAsString())
              .Run());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<ActiveJob>> DoLoadActive() {
    std::vector<ActiveJob> jobs;
    SqliteStatement query =
        Sql("SELECT position, job, coalesce(request_id, ''), request_digest, earlier_phases, calibration_ids_uri "
            "FROM jobs WHERE state NOT IN (?, ?, ?) ORDER BY position");
    for (int i = 0; i < 3; ++i) query.Bind(i + 1, kEndedStates[i]);
    while (true) {
      CALIPRESS_ASSIGN_OR_RETURN(const bool more, query.Step());
      if (!more) return jobs;
      ActiveJob& job = jobs.emplace_back();
      CALIPRESS_ASSIGN_OR_RETURN(job.row, ReadRow(query));
      CALIPRESS_ASSIGN_OR_RETURN(job.earlier_phases, Parse<worker::v1::StageState>(query.Blob(4), "list of phases"));
      job.calibration_ids_uri = query.Text(5);
      CALIPRESS_RETURN_IF_ERROR(LoadAttempt(job));
      CALIPRESS_RETURN_IF_ERROR(LoadBlocks(job));
    }
  }

  absl::Status LoadAttempt(ActiveJob& job) {
    SqliteStatement query = Sql("SELECT number, phase, rendezvous FROM attempts WHERE job = ?");
    CALIPRESS_ASSIGN_OR_RETURN(const bool found, query.Bind(1, job.row.order).Step());
    if (!found) return absl::OkStatus();
    AttemptRow& attempt = job.attempt.emplace();
    attempt.number = static_cast<int>(query.Int(0));
    attempt.phase = static_cast<int>(query.Int(1));
    attempt.rendezvous = query.Text(2);
    SqliteStatement leases =
        Sql("SELECT rank, token, worker_id, session_id, device, first_block, end_block, state, stage FROM leases "
            "WHERE job = ? ORDER BY rank");
    leases.Bind(1, job.row.order);
    while (true) {
      CALIPRESS_ASSIGN_OR_RETURN(const bool more, leases.Step());
      if (!more) return absl::OkStatus();
      LeaseRow& lease = attempt.leases.emplace_back();
      lease.rank = static_cast<int>(leases.Int(0));
      lease.token = leases.Text(1);
      lease.worker_id = leases.Text(2);
      lease.session_id = leases.Text(3);
      lease.device = leases.Text(4);
      lease.first_block = static_cast<int>(leases.Int(5));
      lease.end_block = static_cast<int>(leases.Int(6));
      lease.state = static_cast<int>(leases.Int(7));
      CALIPRESS_ASSIGN_OR_RETURN(lease.stage, Parse<worker::v1::StageState>(leases.Blob(8), "stage"));
    }
  }

  absl::Status LoadBlocks(ActiveJob& job) {
    SqliteStatement query = Sql("SELECT attempt, finished_block FROM finished_blocks WHERE job = ? ORDER BY block");
    query.Bind(1, job.row.order);
    while (true) {
      CALIPRESS_ASSIGN_OR_RETURN(const bool more, query.Step());
      if (!more) return absl::OkStatus();
      BlockRow& block = job.blocks.emplace_back();
      block.attempt = static_cast<int>(query.Int(0));
      CALIPRESS_ASSIGN_OR_RETURN(block.block, Parse<worker::v1::FinishedBlock>(query.Blob(1), "finished block"));
    }
  }

  std::mutex mutex_;
  std::unique_ptr<SqliteDatabase> database_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<JobStore>> OpenSqliteJobStore(const std::string& path) {
  CALIPRESS_ASSIGN_OR_RETURN(std::unique_ptr<SqliteDatabase> database, SqliteDatabase::Open(path));
  CALIPRESS_RETURN_IF_ERROR(Migrate(*database));
  return std::unique_ptr<JobStore>(std::make_unique<SqliteJobStore>(std::move(database)));
}

}  // namespace calipress::store
