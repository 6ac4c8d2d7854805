#include "compress/engine/phase_sums.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace calipress::engine {

void PhaseSums::Add(const v1::PhaseReport& phase) {
  for (v1::PhaseReport& sum : sums_) {
    if (sum.name() != phase.name()) continue;
    sum.set_seconds(sum.seconds() + phase.seconds());
    sum.set_peak_memory_bytes(std::max(sum.peak_memory_bytes(), phase.peak_memory_bytes()));
    for (const auto& [name, seconds] : phase.activities()) (*sum.mutable_activities())[name] += seconds;
    return;
  }
  sums_.push_back(phase);
}

void PhaseSums::Tell(const std::string& whole, StageObserver& observer) const {
  for (v1::PhaseReport phase : sums_) {
    phase.set_name(absl::StrCat(whole, ": ", phase.name()));
    observer.OnPhaseFinished(phase);
  }
}

double RecipeFraction(const std::string& phase, double fraction) {
  if (phase == kCompressPhase) return 0.05 + 0.7 * fraction;
  if (phase == kEvaluatePhase) return 0.75 + 0.2 * fraction;
  if (phase == kAssemblePhase) return 0.95 + 0.05 * fraction;
  return 0.05 * fraction;
}

}  // namespace calipress::engine
