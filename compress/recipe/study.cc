#include "compress/recipe/study.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "compress/base/units.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

// The domain's weight, and the rest shared as the recipe's own weights say.
v1::Mixing MixingAt(const v1::Mixing& mixing, const std::string& domain, double weight) {
  v1::Mixing at = mixing;
  double others = 0.0;
  for (const v1::DomainWeight& entry : mixing.weights()) {
    if (entry.domain() != domain) others += entry.weight();
  }
  for (v1::DomainWeight& entry : *at.mutable_weights()) {
    if (entry.domain() == domain) {
      entry.set_weight(weight);
    } else {
      entry.set_weight(others > 0.0 ? (1.0 - weight) * entry.weight() / others : 0.0);
    }
  }
  return at;
}

v1::Recipe RunRecipe(const v1::Recipe& recipe, const v1::StudyMethod& method, const v1::StudySource& source, int draw) {
  v1::Recipe run = recipe;
  run.clear_study();
  *run.mutable_steps() = method.steps();
  *run.mutable_calibration()->mutable_sources() = source.sources();
  run.mutable_calibration()->mutable_draw()->set_index(draw);
  run.mutable_calibration()->mutable_draw()->set_of(recipe.study().draws());
  if (run.output().format().empty()) run.mutable_output()->set_format(DefaultFormat(run));
  return run;
}

}  // namespace

std::vector<StudyRun> StudyRuns(const v1::Recipe& recipe) {
  const v1::Study& study = recipe.study();
  std::vector<std::optional<double>> weights(study.sweep().weights().begin(), study.sweep().weights().end());
  if (weights.empty()) weights.emplace_back();
  std::vector<StudyRun> runs;
  for (const v1::StudySource& source : study.sources()) {
    for (int draw = 0; draw < study.draws(); ++draw) {
      for (const v1::StudyMethod& method : study.methods()) {
        const v1::Recipe base = RunRecipe(recipe, method, source, draw);
        for (const std::optional<double>& weight : weights) {
          StudyRun& run = runs.emplace_back();
          run.index = static_cast<int>(runs.size()) - 1;
          run.name = absl::StrCat(method.name(), "/", source.name(), "/", draw);
          run.method = method.name();
          run.source = source.name();
          run.draw = draw;
          run.domain_weight = weight;
          run.recipe = base;
          if (!weight) continue;
          absl::StrAppend(&run.name, "/", ExactNumber(*weight));
          *run.recipe.mutable_calibration()->mutable_mixing() =
              MixingAt(recipe.calibration().mixing(), study.sweep().domain(), *weight);
        }
      }
    }
  }
  if (study.repeat() && !runs.empty()) {
    // Of a method that takes calibration data, where there is one: its draw is made again too.
    auto first = std::find_if(runs.begin(), runs.end(), [](const StudyRun& run) {
      return std::any_of(run.recipe.steps().begin(), run.recipe.steps().end(), NeedsStatistics);
    });
    StudyRun again = first == runs.end() ? runs.front() : *first;
    again.index = static_cast<int>(runs.size());
    again.name += "/repeat";
    again.repeat = true;
    runs.push_back(std::move(again));
  }
  return runs;
}

int64_t CountStudyRuns(const v1::Recipe& recipe) {
  if (!recipe.has_study()) return 0;
  const v1::Study& study = recipe.study();
  return int64_t{study.methods_size()} * study.sources_size() * study.draws() *
             std::max(1, study.sweep().weights_size()) +
         (study.repeat() ? 1 : 0);
}

int64_t MostKept(const v1::Study& study) {
  int64_t most = 0;
  bool best = false, each = false;
  for (const std::string& entry : study.keep()) {
    best |= entry == kKeepBest;
    each |= entry == kKeepBestOfEach;
    most += entry != kKeepNone && entry != kKeepBest && entry != kKeepBestOfEach ? 1 : 0;
  }
  // The best of all is the best of its method.
  return most + (each ? study.methods_size() : best ? 1 : 0);
}

std::string RunFolder(const std::string& run) {
  return absl::StrCat(kRunsFolder, "/", absl::StrReplaceAll(run, {{"/", "-"}}));
}

std::string CalibrationSetFile(const std::string& source, int draw) {
  return absl::StrCat(kCalibrationFolder, "/", source, "-", draw, ".npy");
}

}  // namespace calipress::recipe
