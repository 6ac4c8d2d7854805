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

// Entries of study.keep that are no run's name.
inline constexpr char kKeepNone[] = "none";
inline constexpr char kKeepBest[] = "best";
inline constexpr char kKeepBestOfEach[] = "best-of-each-method";

// How many runs become checkpoints at most; what ran best is known at the end.
int64_t MostKept(const v1::Study& study);

// Where files of a study lie in the job's output. A run that is kept beside others: "runs/gptq-stories-0". The ids of
// one draw of a source: "calibration/stories-0.npy".
std::string RunFolder(const std::string& run);
std::string CalibrationSetFile(const std::string& source, int draw);
inline constexpr char kRunsFolder[] = "runs";
inline constexpr char kCalibrationFolder[] = "calibration";

}  // namespace calipress::recipe
