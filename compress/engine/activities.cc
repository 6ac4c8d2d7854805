#include "compress/engine/activities.h"

namespace calipress::engine {

void ActivityLedger::Add(Activity activity, double seconds) {
  std::lock_guard lock(mutex_);
  seconds_[static_cast<size_t>(activity)] += seconds;
}

std::map<std::string, double> ActivityLedger::Take() {
  static constexpr std::array<const char*, 6> kNames = {"read", "forward", "statistics", "solve", "write", "transfer"};
  std::lock_guard lock(mutex_);
  std::map<std::string, double> taken;
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (seconds_[i] > 0) taken[kNames[i]] = seconds_[i];
  }
  seconds_ = {};
  return taken;
}

}  // namespace calipress::engine
