#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace calipress::store {

class SqliteDatabase;

// One run of a prepared statement: bind, then step. Ends with the object, so that the statement can run again. The
// first failure stays: check it through Step's or Run's status.
class SqliteStatement {
 public:
  ~SqliteStatement();
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  // Parameters from 1.
  SqliteStatement& Bind(int index, int64_t value);
  SqliteStatement& BindText(int index, std::string_view value);
  SqliteStatement& BindBlob(int index, std::string_view value);

  // True with a row, false at the end.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();

  // Columns from 0, of the row that Step found.
  int64_t Int(int column) const;
  std::string Text(int column) const;
  std::string Blob(int column) const;

 private:
  friend class SqliteDatabase;
  SqliteStatement(SqliteDatabase& database, sqlite3_stmt* statement, int failure);
  SqliteDatabase* database_;
  sqlite3_stmt* statement_;
  int failure_;
};

// A connection. Not thread-safe. Failures are UNAVAILABLE with STORE_UNAVAILABLE; a violated constraint is
// ALREADY_EXISTS.
class SqliteDatabase {
 public:
  // Opens or makes the file, for this process alone: a second coordinator on the same file would hand out the same
  // work twice.
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path);
  ~SqliteDatabase();

  // Runs any number of statements without parameters.
  absl::Status Execute(const std::string& sql);
  // Prepared once per text.
  SqliteStatement Prepare(const std::string& sql);
  // Rows that the last INSERT, UPDATE or DELETE touched.
  int64_t Changes() const;
  int64_t LastInsertId() const;
  const std::string& path() const { return path_; }

 private:
  friend class SqliteStatement;
  SqliteDatabase(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}
  absl::Status Error(int code) const;

  std::string path_;
  sqlite3* handle_;
  std::map<std::string, sqlite3_stmt*> statements_;
};

// Begins at once; rolls back unless committed.
class SqliteTransaction {
 public:
  static absl::StatusOr<SqliteTransaction> Begin(SqliteDatabase& database);
  ~SqliteTransaction();
  SqliteTransaction(SqliteTransaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  SqliteTransaction(const SqliteTransaction&) = delete;
  SqliteTransaction& operator=(const SqliteTransaction&) = delete;
  absl::Status Commit();

 private:
  explicit SqliteTransaction(SqliteDatabase& database) : database_(&database) {}
  SqliteDatabase* database_;
};

}  // namespace calipress::store
