#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "calipress/worker/v1/worker_service.pb.h"

namespace calipress::fleet {

// What a worker says is kept in the store and shown to people: its size has bounds.

// At most `limit` bytes, cut between characters; "..." marks the cut.
std::string CutText(std::string_view text, size_t limit);

// INVALID_ARGUMENT where the worker does not say who and what it is, or ids are too long to be ours.
absl::Status CheckIdentity(const worker::v1::SynchronizeRequest& request);

// Cuts texts and lists of a stage's report to their bounds. Finished blocks are bounded by AcceptsBlock.
void BoundStage(worker::v1::StageState* stage);

// Whether a finished block may be kept: it belongs to the lease's blocks [first, end), and its file lies in the
// attempt's staging folder.
bool AcceptsBlock(const worker::v1::FinishedBlock& block, int first_block, int end_block,
                  const std::string& staging_uri);

}  // namespace calipress::fleet
