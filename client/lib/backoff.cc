#include "client/lib/backoff.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "compress/base/random.h"

namespace calipress::client {
namespace {

constexpr double kFirstPause = 0.1;
constexpr double kLongestPause = 2.0;

}  // namespace

Backoff::Backoff(double budget_seconds, const Clock& clock)
    : budget_(budget_seconds),
      clock_(clock),
      start_(clock.Steady()),
      pause_(kFirstPause),
      seed_(std::random_device{}()) {}

double Backoff::NextPause() {
  const double spent = std::chrono::duration<double>(clock_.Steady() - start_).count();
  if (spent >= budget_) return -1;
  const double jitter = RandomStream(seed_, draws_++).Uniform();
  const double pause = pause_ * (1.0 - 0.25 * jitter);
  pause_ = std::min(2 * pause_, kLongestPause);
  return std::min(pause, budget_ - spent);
}

void Backoff::Reset() {
  start_ = clock_.Steady();
  pause_ = kFirstPause;
}

}  // namespace calipress::client
