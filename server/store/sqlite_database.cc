#include "server/store/sqlite_database.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::store {
namespace {

constexpr int kBusyMilliseconds = 5000;

}  // namespace

SqliteStatement::SqliteStatement(SqliteDatabase& database, sqlite3_stmt* statement, int failure)
    : database_(&database), statement_(statement), failure_(failure) {}

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)), failure_(other.failure_) {}

SqliteStatement::~SqliteStatement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteStatement& SqliteStatement::Bind(int index, int64_t value) {
  if (failure_ == SQLITE_OK) failure_ = sqlite3_bind_int64(statement_, index, value);
  return *this;
}

SqliteStatement& SqliteStatement::BindText(int index, std::string_view value) {
  if (failure_ == SQLITE_OK) {
    // A null pointer would bind NULL.
    failure_ = sqlite3_bind_text64(statement_, index, value.empty() ? "" : value.data(), value.size(), SQLITE_TRANSIENT,
                                   SQLITE_UTF8);
  }
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(int index, std::string_view value) {
  if (failure_ == SQLITE_OK) {
    failure_ =
        sqlite3_bind_blob64(statement_, index, value.empty() ? "" : value.data(), value.size(), SQLITE_TRANSIENT);
  }
  return *this;
}

absl::StatusOr<bool> SqliteStatement::Step() {
  if (failure_ != SQLITE_OK) return database_->Error(failure_);
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  failure_ = code;
  return database_->Error(code);
}

absl::Status SqliteStatement::Run() {
  CALIPRESS_ASSIGN_OR_RETURN(const bool row, Step());
  return row ? DefectError("a statement that changes the job store gave a row") : absl::OkStatus();
}

int64_t SqliteStatement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string SqliteStatement::Text(int column) const { return Blob(column); }

std::string SqliteStatement::Blob(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), size);
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(path, handle));
  if (code != SQLITE_OK) return database->Error(code);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyMilliseconds);
  // Exclusive before WAL: then the lock is held as long as the connection. FULL: what was answered survives a power
  // cut.
  CALIPRESS_RETURN_IF_ERROR(
      database->Execute("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                        "PRAGMA foreign_keys = ON; BEGIN IMMEDIATE; COMMIT"));
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

absl::Status SqliteDatabase::Execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

SqliteStatement SqliteDatabase::Prepare(const std::string& sql) {
  auto [it, inserted] = statements_.try_emplace(sql, nullptr);
  int code = SQLITE_OK;
  if (it->second == nullptr) {
    code = sqlite3_prepare_v3(handle_, sql.c_str(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                              &it->second, nullptr);
  }
  return SqliteStatement(*this, it->second, code);
}

int64_t SqliteDatabase::Changes() const { return sqlite3_changes(handle_); }

int64_t SqliteDatabase::LastInsertId() const { return sqlite3_last_insert_rowid(handle_); }

absl::Status SqliteDatabase::Error(int code) const {
  const std::string text = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
      return MakeError(absl::StatusCode::kAlreadyExists, reason::kInternal, ErrorClass::kDefect,
                       absl::StrCat("the job store ", path_, " refused a row: ", text));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EnvironmentError(reason::kStoreUnavailable,
                              absl::StrCat("the job store ", path_, " is in use by another process (", text,
                                           "); stop the other coordinator or give this one another file"));
    case SQLITE_CANTOPEN:
      return EnvironmentError(reason::kStoreUnavailable,
                              absl::StrCat("the job store ", path_, " cannot be opened (", text,
                                           "); its folder must exist and be writable"));
    case SQLITE_FULL:
      return EnvironmentError(reason::kStoreUnavailable,
                              absl::StrCat("the job store ", path_, " cannot grow: the disk is full (", text, ")"));
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return EnvironmentError(reason::kStoreUnavailable,
                              absl::StrCat("the job store ", path_, " is damaged or no database (", text,
                                           "); restore it from a backup or give another file"));
    default:
      return EnvironmentError(reason::kStoreUnavailable, absl::StrCat("the job store ", path_, " failed: ", text));
  }
}

absl::StatusOr<SqliteTransaction> SqliteTransaction::Begin(SqliteDatabase& database) {
  CALIPRESS_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  return SqliteTransaction(database);
}

SqliteTransaction::~SqliteTransaction() {
  if (database_ != nullptr) (void)database_->Execute("ROLLBACK");
}

absl::Status SqliteTransaction::Commit() {
  CALIPRESS_RETURN_IF_ERROR(database_->Execute("COMMIT"));
  database_ = nullptr;
  return absl::OkStatus();
}

}  // namespace calipress::store
