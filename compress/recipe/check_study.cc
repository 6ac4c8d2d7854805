#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/recipe.h"
#include "compress/recipe/study.h"

namespace calipress::recipe {
namespace {

// Workers tell of all runs in every report (server/fleet/report_bounds.cc).
constexpr int64_t kMaxRuns = 2000;
constexpr size_t kMaxNameBytes = 64;

// Part of a run's name, which is a path and a file's name.
void CheckName(const std::string& name, const std::string& path, std::set<std::string>* seen, const Refuse& refuse) {
  const bool plain = std::all_of(name.begin(), name.end(),
                                 [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
  if (name.empty()) {
    refuse(path, "is required: the label in the report");
  } else if (name.size() > kMaxNameBytes || !plain) {
    refuse(path, absl::StrCat("must be at most ", kMaxNameBytes, " letters, digits, '-', '_' and '.'"));
  } else if (!seen->insert(name).second) {
    refuse(path, absl::StrCat("'", name, "' is used twice; names tell the runs apart"));
  }
}

// Far more than a study has runs; what is above is not looked at any further.
bool TooMany(const v1::Study& study) {
  return study.methods_size() > kMaxRuns || study.sources_size() > kMaxRuns || study.draws() > kMaxRuns ||
         study.sweep().weights_size() > kMaxRuns;
}

void CheckSweep(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  const v1::StudySweep& sweep = recipe.study().sweep();
  const auto& weights = recipe.calibration().mixing().weights();
  if (std::none_of(weights.begin(), weights.end(), [&](const v1::DomainWeight& entry) {
        return entry.domain() != sweep.domain() && entry.weight() > 0.0;
      })) {
    refuse(absl::StrCat(path, ".domain"),
           "has no other domain beside it whose weight in calibration.mixing is above 0, to have the rest");
  }
  if (std::none_of(weights.begin(), weights.end(),
                   [&](const v1::DomainWeight& entry) { return entry.domain() == sweep.domain(); })) {
    refuse(absl::StrCat(path, ".domain"),
           absl::StrCat("'", sweep.domain(), "' is no domain of calibration.mixing.weights; name all domains there"));
  }
  if (sweep.weights().empty())
    refuse(absl::StrCat(path, ".weights"), "is required: the weights to try, like [0, 0.5, 1]");
  std::set<double> seen;
  for (int i = 0; i < sweep.weights_size(); ++i) {
    const double weight = sweep.weights(i);
    if (!(weight >= 0.0 && weight <= 1.0)) {
      refuse(absl::StrCat(path, ".weights[", i, "]"), absl::StrCat("must be 0 to 1, not ", weight));
    } else if (!seen.insert(weight).second) {
      refuse(absl::StrCat(path, ".weights[", i, "]"), absl::StrCat(weight, " is given twice"));
    }
  }
}

// Only once everything else is right do the runs have names.
void CheckKeep(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  const v1::Study& study = recipe.study();
  v1::Recipe counted = recipe;
  if (!study.has_draws()) counted.mutable_study()->set_draws(kDefaultDraws);
  std::set<std::string> names, seen;
  std::map<std::string, std::string> folders;
  std::string example = "gptq/stories/0", shared;
  for (const StudyRun& run : StudyRuns(counted)) {
    if (run.repeat) continue;
    if (names.empty()) example = run.name;
    names.insert(run.name);
    const auto [place, fresh] = folders.emplace(RunFolder(run.name), run.name);
    if (!fresh && shared.empty()) shared = absl::StrCat("'", place->second, "' and '", run.name, "'");
  }
  for (int i = 0; i < study.keep_size(); ++i) {
    const std::string& keep = study.keep(i);
    const std::string entry = absl::StrCat(path, "[", i, "]");
    if (!seen.insert(keep).second) {
      refuse(entry, absl::StrCat("'", keep, "' is given twice"));
    } else if (keep == kKeepNone) {
      if (study.keep_size() > 1) refuse(entry, "'none' stands alone; leave it away, or what is beside it");
    } else if (keep != kKeepBest && keep != kKeepBestOfEach && !names.contains(keep)) {
      refuse(entry, absl::StrCat("'", keep, "' is no run of this study; give none, best, best-of-each-method, or a ",
                                 "name like '", example, "'"));
    }
  }
  if (!shared.empty() && MostKept(study) > 1) {
    refuse(path, absl::StrCat("runs ", shared, " would be kept in one folder, ",
                              "where '/' is '-'; rename a method or source"));
  }
}

}  // namespace

void CheckStudy(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  if (!recipe.has_study()) return;
  const v1::Study& study = recipe.study();
  if (TooMany(study)) {
    return refuse(path, absl::StrCat("has more than ", kMaxRuns, " methods, sources, draws or weights"));
  }
  bool whole = true;
  const Refuse note = [&](std::string field, std::string description) {
    whole = false;
    refuse(std::move(field), std::move(description));
  };
  const std::string root = path.substr(0, path.rfind('.'));
  if (recipe.steps_size() > 0) {
    note(absl::StrCat(root, ".steps"), "a study has its steps in study.methods; move them there");
  }
  if (recipe.calibration().sources_size() > 0) {
    note(absl::StrCat(root, ".calibration.sources"), "a study has its sources in study.sources; move them there");
  }
  if (recipe.calibration().has_draw()) {
    note(absl::StrCat(root, ".calibration.draw"), "a study makes its own draws; give study.draws");
  }
  if (recipe.sharding() == v1::SHARDING_SAMPLES) {
    note(absl::StrCat(root, ".sharding"), "must be layers in a study, whose runs fill the pipeline of stages");
  }
  if (!Evaluates(recipe)) {
    note(absl::StrCat(root, ".evaluation"), "is what a study compares its runs by; give at least one perplexity");
  }
  if (study.methods().empty()) note(absl::StrCat(path, ".methods"), "is required: a name and steps each");
  if (study.sources().empty()) note(absl::StrCat(path, ".sources"), "is required: a name and sources each");
  if (study.has_draws() && study.draws() < 1) note(absl::StrCat(path, ".draws"), "must be at least 1");
  std::set<std::string> methods, sources;
  for (int i = 0; i < study.methods_size(); ++i) {
    const std::string entry = absl::StrCat(path, ".methods[", i, "]");
    CheckName(study.methods(i).name(), absl::StrCat(entry, ".name"), &methods, note);
    if (study.methods(i).steps().empty()) note(absl::StrCat(entry, ".steps"), "is required: what the run does");
  }
  for (int i = 0; i < study.sources_size(); ++i) {
    const std::string entry = absl::StrCat(path, ".sources[", i, "]");
    CheckName(study.sources(i).name(), absl::StrCat(entry, ".name"), &sources, note);
    if (study.sources(i).sources().empty())
      note(absl::StrCat(entry, ".sources"), "is required: where tokens come from");
  }
  if (study.has_sweep()) CheckSweep(recipe, absl::StrCat(path, ".sweep"), note);
  v1::Recipe counted = recipe;
  if (!study.has_draws()) counted.mutable_study()->set_draws(kDefaultDraws);
  if (!study.has_repeat()) counted.mutable_study()->set_repeat(true);
  if (CountStudyRuns(counted) > kMaxRuns) {
    note(path, absl::StrCat("has ", CountStudyRuns(counted), " runs; at most ", kMaxRuns));
  }
  if (whole) CheckKeep(recipe, absl::StrCat(path, ".keep"), refuse);
}

std::vector<FieldViolation> OfStudyParts(const v1::Recipe& recipe, const std::string& prefix,
                                         const RecipeCheck& check) {
  std::vector<FieldViolation> found;
  const v1::Study& study = recipe.study();
  if (TooMany(study)) return found;
  v1::Recipe run = recipe;
  run.clear_study();
  // Violations of one part of a run, under the part's place in the study. What does not depend on the part is found
  // with every one: told once.
  const auto take = [&](const std::string& from, const std::string& to) {
    for (FieldViolation& violation : check(run)) {
      if (!absl::StartsWith(violation.field, from)) continue;
      FieldViolation placed{absl::StrCat(to, violation.field.substr(from.size())), std::move(violation.description)};
      const bool known = std::any_of(found.begin(), found.end(), [&](const FieldViolation& other) {
        return other.field == placed.field && other.description == placed.description;
      });
      if (!known) found.push_back(std::move(placed));
    }
  };
  for (int i = 0; i < study.methods_size(); ++i) {
    *run.mutable_steps() = study.methods(i).steps();
    if (recipe.output().format().empty()) run.mutable_output()->set_format(DefaultFormat(run));
    if (study.sources_size() > 0) *run.mutable_calibration()->mutable_sources() = study.sources(0).sources();
    take(absl::StrCat(prefix, ".steps"), absl::StrCat(prefix, ".study.methods[", i, "].steps"));
    // A format that is given is that of every run.
    take(absl::StrCat(prefix, ".output"), absl::StrCat(prefix, ".output"));
  }
  for (int i = 0; i < study.sources_size(); ++i) {
    *run.mutable_calibration()->mutable_sources() = study.sources(i).sources();
    take(absl::StrCat(prefix, ".calibration.sources"), absl::StrCat(prefix, ".study.sources[", i, "].sources"));
    // Domains and sums depend on the sources.
    for (const char* shared : {".calibration.mixing", ".calibration.samples"}) {
      take(absl::StrCat(prefix, shared), absl::StrCat(prefix, shared));
    }
  }
  return found;
}

}  // namespace calipress::recipe
