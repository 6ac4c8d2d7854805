#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "compress/collective/group.h"
#include "compress/collective/meeting.h"

namespace calipress::collective {

// CPU tensors over TCP, by Gloo. Sums go round a ring of transfers, so that Abort ends them too (Gloo's own
// all-reduce cannot be ended from outside) and every rank has the same bits.
absl::StatusOr<std::unique_ptr<Group>> JoinGloo(const Meeting& meeting, const CancellationToken& cancellation);

}  // namespace calipress::collective
