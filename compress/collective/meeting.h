#pragma once

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

#include "absl/status/statusor.h"
#include "compress/collective/group.h"

namespace calipress::collective {

// Every rank of a gang has come: what a backend needs to connect them.
struct Meeting {
  GroupOptions options;
  // Keys of this gang alone, in rank 0's rendezvous store.
  c10::intrusive_ptr<c10d::Store> store;
  // For the backend's own connections; all ranks are there, so it is short.
  std::chrono::milliseconds connect_timeout;
};

// Goes to the rendezvous and waits for the other ranks, at most options.timeout_seconds. PEER_LOST (environment) names
// the ranks that did not come or says that the store cannot be reached; the token's status where it is cancelled.
absl::StatusOr<Meeting> Meet(const GroupOptions& options, const CancellationToken& cancellation);

// "host:port" or "[v6]:port" apart. False where it is neither.
bool SplitHostPort(const std::string& text, std::string* host, int* port);

}  // namespace calipress::collective
