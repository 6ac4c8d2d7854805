#pragma once

#include <string>
#include <vector>

#include "compress/engine/context.h"

namespace calipress::engine {

// What the phases of several recipes took, as one of each name.
class PhaseSums {
 public:
  void Add(const v1::PhaseReport& phase);
  // Tells of them as parts of a phase: "study: compress".
  void Tell(const std::string& whole, StageObserver& observer) const;

 private:
  std::vector<v1::PhaseReport> sums_;
};

// How far a recipe is that is at `fraction` of a phase: most of its time goes into compress.
double RecipeFraction(const std::string& phase, double fraction);

}  // namespace calipress::engine
