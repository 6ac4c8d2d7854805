#include "server/store/sqlite_migrations.h"

#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"

namespace calipress::store {
namespace {

// Migration i + 1. Never change one that was released: add another.
constexpr const char* kMigrations[] = {
    // 1: the first schema. Messages are blobs; what is searched has a column. `position` is the order of creation.
    R"sql(
      CREATE TABLE jobs (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        state INTEGER NOT NULL,
        create_time_micros INTEGER NOT NULL,
        request_id TEXT UNIQUE,
        request_digest TEXT NOT NULL,
        job BLOB NOT NULL,
        report BLOB,
        earlier_phases BLOB,
        calibration_ids_uri TEXT NOT NULL DEFAULT '',
        needs_sweep INTEGER NOT NULL DEFAULT 0
      );
      CREATE INDEX jobs_by_state ON jobs (state, position);
      CREATE INDEX jobs_to_sweep ON jobs (position) WHERE needs_sweep = 1;

      CREATE TABLE events (
        job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (job, sequence)
      ) WITHOUT ROWID;

      CREATE TABLE attempts (
        job INTEGER PRIMARY KEY REFERENCES jobs (position) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        phase INTEGER NOT NULL,
        rendezvous TEXT NOT NULL
      );

      CREATE TABLE leases (
        job INTEGER NOT NULL REFERENCES attempts (job) ON DELETE CASCADE,
        rank INTEGER NOT NULL,
        token TEXT NOT NULL UNIQUE,
        worker_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        device TEXT NOT NULL,
        first_block INTEGER NOT NULL,
        end_block INTEGER NOT NULL,
        state INTEGER NOT NULL,
        stage BLOB NOT NULL,
        PRIMARY KEY (job, rank)
      ) WITHOUT ROWID;

      CREATE TABLE finished_blocks (
        job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE,
        block INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        finished_block BLOB NOT NULL,
        PRIMARY KEY (job, block)
      ) WITHOUT ROWID;
    )sql",
    // 2: jobs that were deleted before their files were swept up.
    R"sql(
      CREATE TABLE deleted_unswept (
        position INTEGER PRIMARY KEY,
        uid TEXT NOT NULL UNIQUE,
        job BLOB NOT NULL
      );
    )sql",
};

absl::StatusOr<int64_t> Version(SqliteDatabase& database) {
  CALIPRESS_RETURN_IF_ERROR(database.Execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"));
  SqliteStatement statement = database.Prepare("SELECT coalesce(max(version), 0) FROM schema_version");
  CALIPRESS_RETURN_IF_ERROR(statement.Step().status());
  return statement.Int(0);
}

}  // namespace

absl::Status Migrate(SqliteDatabase& database) {
  constexpr int64_t kKnown = std::size(kMigrations);
  CALIPRESS_ASSIGN_OR_RETURN(const int64_t version, Version(database));
  if (version > kKnown) {
    return PreconditionError(
        reason::kStoreUnavailable,
        absl::StrCat("the job store ", database.path(), " was written by a newer calipress (schema ", version,
                     ", this program knows up to ", kKnown, "); run that version, or give another file"));
  }
  for (int64_t next = version; next < kKnown; ++next) {
    CALIPRESS_ASSIGN_OR_RETURN(SqliteTransaction transaction, SqliteTransaction::Begin(database));
    CALIPRESS_RETURN_IF_ERROR(database.Execute(kMigrations[next]));
    CALIPRESS_RETURN_IF_ERROR(
        database.Prepare("INSERT INTO schema_version (version) VALUES (?)").Bind(1, next + 1).Run());
    CALIPRESS_RETURN_IF_ERROR(transaction.Commit());
    LogInfo("job store schema brought up to date", {{"path", database.path()}, {"schema", next + 1}});
  }
  return absl::OkStatus();
}

}  // namespace calipress::store
