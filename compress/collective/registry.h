#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "compress/collective/group.h"
#include "compress/collective/meeting.h"

namespace calipress::collective {

// Makes the group once every rank has come to the meeting. May throw what c10d throws. `cancellation` outlives nothing:
// copy it.
using BackendFactory = std::function<absl::StatusOr<std::unique_ptr<Group>>(const Meeting& meeting,
                                                                            const CancellationToken& cancellation)>;

// Adds a backend under a name that recipes and assignments do not see ("gloo", "nccl"); a later one replaces an
// earlier one of the same name. "gloo" is there from the start; the CUDA module adds "nccl" when it is loaded.
void RegisterBackend(const std::string& name, BackendFactory factory);

// Empty where there is none of that name.
BackendFactory FindBackend(const std::string& name);

}  // namespace calipress::collective
