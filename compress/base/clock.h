#pragma once

#include <chrono>

namespace calipress {

// The one way to read the time, so that tests can move it. Thread-safe.
class Clock {
 public:
  using WallTime = std::chrono::system_clock::time_point;
  using SteadyTime = std::chrono::steady_clock::time_point;

  virtual ~Clock() = default;
  virtual WallTime Wall() const = 0;
  virtual SteadyTime Steady() const = 0;

  // The machine's clock; lives for ever.
  static const Clock& System();
};

// Seconds since its construction.
class Stopwatch {
 public:
  Stopwatch() : start_(Clock::System().Steady()) {}
  double Seconds() const { return std::chrono::duration<double>(Clock::System().Steady() - start_).count(); }

 private:
  Clock::SteadyTime start_;
};

}  // namespace calipress
