#include "compress/recipe/unused_calibration.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/recipe/calibration_plan.h"
#include "compress/recipe/recipe.h"
#include "compress/storage/object_store.h"

namespace calipress::recipe {

std::optional<std::string> UnusedCalibration(const v1::Recipe& recipe) {
  if (recipe.has_study() || recipe.output().imatrix() || recipe.calibration().sources_size() == 0) return std::nullopt;
  if (std::any_of(recipe.steps().begin(), recipe.steps().end(), NeedsStatistics)) return std::nullopt;
  std::vector<std::string> names;
  for (const v1::CalibrationSource& source : recipe.calibration().sources()) {
    const std::string uri = SourceUri(source);
    names.push_back(absl::StrCat(SourceKind(source), uri.empty() ? "" : " ", storage::RedactUri(uri)));
  }
  return absl::StrCat("the recipe's calibration data was not read, as ",
                      recipe.steps_size() == 0 ? "nothing is compressed" : "no step takes statistics of it", ": ",
                      absl::StrJoin(names, ", "));
}

}  // namespace calipress::recipe
