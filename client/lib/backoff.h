#pragma once

#include <cstdint>

#include "compress/base/clock.h"

namespace calipress::client {

// Pauses between tries of one call: 0.1 s, doubled up to 2 s, each with up to a quarter taken off at random so that
// many clients of a restarted server do not come back in step. Not thread-safe.
class Backoff {
 public:
  // `budget_seconds`: from construction (or the last Reset) until no further try is due.
  Backoff(double budget_seconds, const Clock& clock = Clock::System());

  // Seconds to wait before the next try; negative where the budget is spent.
  double NextPause();

  // After a success: the budget and the first pause again.
  void Reset();

 private:
  const double budget_;
  const Clock& clock_;
  Clock::SteadyTime start_;
  double pause_;
  uint64_t draws_ = 0;
  const uint64_t seed_;
};

}  // namespace calipress::client
