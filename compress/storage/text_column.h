#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "compress/storage/object_store.h"

namespace calipress::storage {

// Calls `row` for every row of a Parquet file with its text in a column (string or binary, also as a dictionary), empty
// where that is null, and its number from 1. Holds a row group's column at a time, within a bound.
// INVALID_CALIBRATION_DATA for bytes that are no Parquet, and for a column that is not there (with those that are) or
// has no texts. Untrusted.
absl::Status ForEachText(ObjectReader& parquet, const std::string& column,
                         const std::function<absl::Status(std::string_view text, int64_t number)>& row);

}  // namespace calipress::storage
