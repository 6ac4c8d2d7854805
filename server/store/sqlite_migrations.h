#pragma once

#include "absl/status/status.h"
#include "server/store/sqlite_database.h"

namespace calipress::store {

// Brings the schema up to date, each step in a transaction of its own. FAILED_PRECONDITION where the file has a newer
// schema than this program knows.
absl::Status Migrate(SqliteDatabase& database);

}  // namespace calipress::store
