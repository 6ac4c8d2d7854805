#include "server/assembly/study_files.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/recipe/recipe_yaml.h"
#include "compress/recipe/study.h"
#include "compress/study/tables.h"
#include "server/assembly/message_json.h"

namespace calipress::assembly {

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> StudyFiles(const v1::CompressionJob& job,
                                                                            const v1::Report& report) {
  std::vector<std::pair<std::string, std::string>> files;
  if (!job.recipe().has_study()) return files;
  CALIPRESS_ASSIGN_OR_RETURN(std::string json, MessageJson(report.study(), /*zeros=*/true));
  files.emplace_back("study.csv", study::StatisticsCsv(report.study()));
  files.emplace_back("study_comparisons.csv", study::ComparisonsCsv(report.study()));
  files.emplace_back("study_runs.csv", study::RunsCsv(report.study()));
  files.emplace_back("study.json", std::move(json));
  files.emplace_back("study.md", study::Markdown(report.study()));
  files.emplace_back("study.yaml", recipe::RecipeYaml(job.recipe()));
  return files;
}

std::vector<std::string> CalibrationSets(const v1::CompressionJob& job, const v1::Report& report) {
  if (!job.recipe().has_study()) return {};
  // What a worker says is a name; which names there can be the recipe says.
  std::set<std::string> possible, reported;
  for (const recipe::StudyRun& run : recipe::StudyRuns(job.recipe())) {
    possible.insert(recipe::CalibrationSetFile(run.source, run.draw));
  }
  for (const v1::RunReport& run : report.study().runs()) {
    if (possible.contains(run.calibration().ids_file())) reported.insert(run.calibration().ids_file());
  }
  return {reported.begin(), reported.end()};
}

absl::StatusOr<v1::CompressionJob> JobOfCheckpoint(const v1::CompressionJob& job, const v1::Report& report) {
  if (!job.recipe().has_study()) return job;
  for (const recipe::StudyRun& run : recipe::StudyRuns(job.recipe())) {
    if (report.study().kept_size() != 1 || run.name != report.study().kept(0)) continue;
    v1::CompressionJob kept = job;
    *kept.mutable_recipe() = run.recipe;
    return kept;
  }
  return DefectError(absl::StrCat("the study has no run '", absl::StrJoin(report.study().kept(), ", "), "'"));
}

}  // namespace calipress::assembly
