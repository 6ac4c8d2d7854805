#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calipress/v1/recipe.pb.h"

namespace calipress::recipe {

// One run of a study: an ordinary recipe, and what it is called.
struct StudyRun {
  int index = 0;
  std::string name;  // "method/source/draw", and "/weight" in a sweep; "/repeat" for the one that is done again
  std::string method;
  std::string source;
  int draw = 0;
  std::optional<double> domain_weight;
  // The first run that takes calibration data (or the first of all) once more, and its draw with it: for its bytes
  // alone, no part of any statistic.
  bool repeat = false;
  v1::Recipe recipe;
};

// The runs of a resolved recipe with a study, in the order in which they are done: those that share calibration tokens
// follow one another, so that tokens are made once for all methods.
std::vector<StudyRun> StudyRuns(const v1::Recipe& recipe);

// How many there will be, of any recipe; 0: it has no study.
int64_t CountStudyRuns(const v1::Recipe& recipe);

}  // namespace calipress::recipe
