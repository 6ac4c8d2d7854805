#pragma once

#include <memory>
#include <string>

#include "compress/collective/group.h"

namespace calipress::collective {

// Counts what the group moves and how long callers are blocked in it: calipress_collective_bytes_total,
// calipress_collective_duration_seconds, calipress_collective_failures_total.
std::unique_ptr<Group> MeterGroup(std::unique_ptr<Group> group, const std::string& backend);

// Counts a failure to come together, which has no group yet.
void CountJoinFailure(const absl::Status& status);

}  // namespace calipress::collective
