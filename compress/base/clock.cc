#include "compress/base/clock.h"

namespace calipress {
namespace {

class SystemClock : public Clock {
 public:
  WallTime Wall() const override { return std::chrono::system_clock::now(); }
  SteadyTime Steady() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const Clock& Clock::System() {
  static const SystemClock* const clock = new SystemClock;
  return *clock;
}

}  // namespace calipress
