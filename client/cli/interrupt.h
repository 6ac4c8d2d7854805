#pragma once

#include <atomic>
#include <thread>

#include "compress/base/cancellation.h"

namespace calipress::cli {

// Turns SIGINT and SIGTERM into a cancellation while it lives: the first raises `first`, the second `second`. Made
// before any other thread, which then inherits that the signals are blocked.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  const CancellationToken& first() const { return first_; }
  const CancellationToken& second() const { return second_; }

 private:
  CancellationToken first_;
  CancellationToken second_;
  std::atomic<bool> over_ = false;
  std::jthread thread_;
};

}  // namespace calipress::cli
