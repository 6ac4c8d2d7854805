#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/job.pb.h"

namespace calipress::fleet {

// Where a list goes on, bound to the states it was asked for. Opaque to callers.
std::string MakePageToken(int64_t before_order, const std::vector<v1::CompressionJob::State>& states);

// The order to go on before. INVALID_ARGUMENT where the token is none of ours, or of another list.
absl::StatusOr<int64_t> ReadPageToken(std::string_view token, const std::vector<v1::CompressionJob::State>& states);

}  // namespace calipress::fleet
