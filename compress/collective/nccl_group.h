#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "compress/collective/group.h"
#include "compress/collective/meeting.h"

namespace calipress::collective {

// CUDA tensors, by NCCL. Every pair of ranks gets its communicator while the gang meets: NCCL would otherwise make one
// at the first transfer of a pair, and block the rank that comes first for as long as the other computes, deaf to the
// token. Pairs do not wait for each other's transfers. Waits poll, so that Abort and a lost peer end them.
absl::StatusOr<std::unique_ptr<Group>> JoinNccl(const Meeting& meeting, const CancellationToken& cancellation);

// Turns off what of ProcessGroupNCCL ends the whole process when a transfer takes long or fails. Before the first
// group.
void TameNcclWatchdogs();

}  // namespace calipress::collective
