#pragma once

#include <cstdint>
#include <vector>

#include "calipress/v1/calibration.pb.h"

namespace calipress::engine {

// Which sequences of a calibration set are of which domain, and what each domain weighs (MixCal, methods.md 3).
struct MixingPlan {
  struct Span {
    int64_t sequences = 0;
    int domain = 0;
  };
  // One after the other over the whole set. Empty where nothing is mixed: all statistics are plain sums.
  std::vector<Span> spans;
  std::vector<double> weights;  // of each domain; they add up to 1
  bool normalize_trace = false;

  bool mixes() const { return !spans.empty(); }
  int domains() const { return mixes() ? static_cast<int>(weights.size()) : 1; }
  // Of a sequence of the set.
  int DomainOf(int64_t sequence) const;
};

// Of a resolved recipe's calibration; `sequences`: what each of its sources gave. Without `mixing` nothing is mixed.
MixingPlan MakeMixingPlan(const v1::Calibration& calibration, const std::vector<int64_t>& sequences);

}  // namespace calipress::engine
