#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"
#include "compress/recipe/owl.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

constexpr double kMaxThreshold = 1e6;
constexpr double kRounding = 1e-9;

void CheckPatternLambda(const v1::Owl& owl, const NOfM& pattern, const std::string& path, const Refuse& refuse) {
  const int room = PatternRoom(pattern);
  if (room < 1) {
    return refuse(path, absl::StrCat("has no room in ", pattern.zeros, ":", pattern.of,
                                     ", whose N could not change; choose another pattern, or remove owl"));
  }
  const double lambda = owl.lambda();
  if (!owl.has_lambda() || (lambda >= 0 && lambda <= room && lambda == std::floor(lambda))) return;
  refuse(absl::StrCat(path, ".lambda"), absl::StrCat("must be a whole number of zeros, 0 to ", room, " for ",
                                                     pattern.zeros, ":", pattern.of, ", not ", lambda));
}

}  // namespace

void CheckOwl(const v1::Step& step, const std::string& path, const Refuse& refuse) {
  const v1::Owl* owl = OwlOf(step);
  if (owl == nullptr) return;
  const std::string entry = absl::StrCat(path, ".owl");
  const double threshold = owl->outlier_threshold();
  if (owl->has_outlier_threshold() && !(threshold > 0 && threshold <= kMaxThreshold)) {
    refuse(absl::StrCat(entry, ".outlier_threshold"),
           absl::StrCat("must be above 0 and at most ", kMaxThreshold, ", not ", threshold));
  }
  const std::string pattern_text = PatternOf(step);
  const auto pattern = ParseNOfM(pattern_text);
  if (pattern) return CheckPatternLambda(*owl, *pattern, entry, refuse);
  const double sparsity = SparsityOf(step);
  // A pattern or a share that is none has its own violation.
  if (!pattern_text.empty() || !(sparsity >= 0 && sparsity < 1)) return;
  const double room = std::min(sparsity, 1 - sparsity), lambda = owl->has_lambda() ? owl->lambda() : DefaultLambda({});
  // 1 - 0.7 is a little above 0.3.
  if (lambda >= 0 && lambda < room - kRounding) return;
  refuse(absl::StrCat(entry, ".lambda"),
         absl::StrCat("must be at least 0 and below ", room, ", the smaller of what the step removes and keeps; ",
                      owl->has_lambda() ? "" : "the default ", lambda, " is not"));
}

}  // namespace calipress::recipe
