#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>

#include "compress/base/clock.h"

namespace calipress::engine {

// What a stage spends its time on. Activities overlap: reads and writes have their own threads.
enum class Activity { kRead, kForward, kStatistics, kSolve, kWrite, kTransfer };

// Seconds per activity since the last Take. Thread-safe.
class ActivityLedger {
 public:
  void Add(Activity activity, double seconds);
  // Names as in calipress.v1.PhaseReport; activities without time are left out.
  std::map<std::string, double> Take();

 private:
  std::mutex mutex_;
  std::array<double, 6> seconds_{};
};

// Books the time of its own life.
class TimedActivity {
 public:
  TimedActivity(ActivityLedger& ledger, Activity activity) : ledger_(ledger), activity_(activity) {}
  ~TimedActivity() { ledger_.Add(activity_, watch_.Seconds()); }
  TimedActivity(const TimedActivity&) = delete;
  TimedActivity& operator=(const TimedActivity&) = delete;

 private:
  ActivityLedger& ledger_;
  Activity activity_;
  Stopwatch watch_;
};

}  // namespace calipress::engine
