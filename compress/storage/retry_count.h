#pragma once

#include <string_view>

namespace calipress::storage {

// Adds one to calipress_storage_retries_total{reason}. Reasons are error reasons, a closed set.
void CountRetry(std::string_view reason);

}  // namespace calipress::storage
