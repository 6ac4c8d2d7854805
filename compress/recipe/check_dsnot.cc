#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"
#include "compress/recipe/n_of_m.h"

namespace calipress::recipe {
namespace {

constexpr int kMaxCycles = 1'000'000;
constexpr double kMaxGamma = 8.0;

}  // namespace

void CheckDsnot(const std::string& path, const v1::Dsnot& dsnot, std::vector<FieldViolation>* violations) {
  const auto refuse = [&](const char* field, std::string description) {
    violations->push_back({absl::StrCat(path, ".", field), std::move(description)});
  };
  if (dsnot.has_sparsity() && !(dsnot.sparsity() > 0 && dsnot.sparsity() < 1)) {
    refuse("sparsity", absl::StrCat("must be above 0 and below 1, not ", dsnot.sparsity()));
  }
  if (!dsnot.pattern().empty()) {
    if (!ParseNOfM(dsnot.pattern())) {
      refuse("pattern", absl::StrCat("'", dsnot.pattern(),
                                     "' must be N:M, N zeros in every M input columns, with 0 < "
                                     "N < M <= ",
                                     kMaxPatternRun, "; for example 2:4"));
    } else if (dsnot.has_sparsity()) {
      refuse("sparsity", absl::StrCat("is decided by pattern ", dsnot.pattern(), "; give one of the two"));
    }
  }
  if (!v1::Dsnot::Initial_IsValid(dsnot.initial())) refuse("initial", "must be wanda, magnitude or sparsegpt");
  if (dsnot.has_max_cycles() && (dsnot.max_cycles() < 0 || dsnot.max_cycles() > kMaxCycles)) {
    refuse("max_cycles", absl::StrCat("must be 0 to ", kMaxCycles, ", not ", dsnot.max_cycles()));
  }
  if (dsnot.has_threshold() && !(dsnot.threshold() >= 0 && std::isfinite(dsnot.threshold()))) {
    refuse("threshold", absl::StrCat("must be 0 or more, not ", dsnot.threshold()));
  }
  if (dsnot.has_gamma() && !(dsnot.gamma() >= 0 && dsnot.gamma() <= kMaxGamma)) {
    refuse("gamma", absl::StrCat("must be 0 to ", kMaxGamma, ", not ", dsnot.gamma()));
  }
  if (!v1::Dsnot::Layers_IsValid(dsnot.layers())) refuse("layers", "must be attention or all");
}

}  // namespace calipress::recipe
