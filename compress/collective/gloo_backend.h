#pragma once

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "compress/collective/meeting.h"

namespace calipress::collective {

// A waiting rank of a sequential pipeline waits for as long as the ranks before it work, so waits have no time limit of
// their own: a lost connection, the token and the coordinator's lease end them. One year stands for "none": Gloo wants
// a number.
inline constexpr std::chrono::milliseconds kNoTimeLimit = std::chrono::hours(24 * 365);

// Connects every rank with every other over TCP. `name` tells several backends of one gang apart. Listens on the
// address (or network interface) options.host. Errors: PEER_LOST, or DEVICE_UNAVAILABLE (environment) where the host
// is not an address of this machine.
absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> ConnectGloo(const Meeting& meeting, const std::string& name);

}  // namespace calipress::collective
