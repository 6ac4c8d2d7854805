#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"
#include "compress/recipe/n_of_m.h"

namespace calipress::recipe {
namespace {

constexpr int kMaxCycles = 1'000'000;
constexpr double kMaxGamma = 8.0;

template <typename Method>
void CheckAmount(const Method& method, const std::string& path, const Refuse& refuse) {
  const bool in_range = method.sparsity() >= 0 && method.sparsity() < 1;
  if (method.has_sparsity() && !in_range) {
    refuse(absl::StrCat(path, ".sparsity"), absl::StrCat("must be at least 0 and below 1, not ", method.sparsity()));
  }
  if (method.pattern().empty()) return;
  const auto pattern = ParseNOfM(method.pattern());
  if (!pattern) {
    refuse(absl::StrCat(path, ".pattern"), absl::StrCat("must be N:M with 0 < N < M and M at most ", kMaxPatternRun,
                                                        ", as 2:4, not '", method.pattern(), "'"));
  } else if (method.has_sparsity() && in_range && std::fabs(method.sparsity() - pattern->sparsity()) > 1e-6) {
    refuse(absl::StrCat(path, ".sparsity"),
           absl::StrCat("is ", method.sparsity(), ", and the pattern ", method.pattern(), " removes ",
                        pattern->sparsity(), "; leave one of the two away"));
  }
}

}  // namespace

void CheckDsnot(const v1::Recipe&, const v1::Step& step, const std::string& path, const Refuse& refuse) {
  const v1::Dsnot& dsnot = step.dsnot();
  const auto check = [&](bool right, const char* field, std::string description) {
    if (!right) refuse(absl::StrCat(path, ".", field), std::move(description));
  };
  CheckAmount(dsnot, path, refuse);
  check(v1::Dsnot::Initial_IsValid(dsnot.initial()), "initial", "must be wanda, magnitude or sparsegpt");
  check(dsnot.max_cycles() >= 0 && dsnot.max_cycles() <= kMaxCycles, "max_cycles",
        absl::StrCat("must be 0 to ", kMaxCycles, ", not ", dsnot.max_cycles()));
  check(dsnot.threshold() >= 0 && std::isfinite(dsnot.threshold()), "threshold",
        absl::StrCat("must be 0 or more, not ", dsnot.threshold()));
  check(dsnot.gamma() >= 0 && dsnot.gamma() <= kMaxGamma, "gamma",
        absl::StrCat("must be 0 to ", kMaxGamma, ", not ", dsnot.gamma()));
  check(v1::Dsnot::Layers_IsValid(dsnot.layers()), "layers", "must be attention or all");
}

void CheckMagnitude(const v1::Recipe&, const v1::Step& step, const std::string& path, const Refuse& refuse) {
  CheckAmount(step.magnitude(), path, refuse);
  CheckOwl(step, path, refuse);
}

void CheckWanda(const v1::Recipe&, const v1::Step& step, const std::string& path, const Refuse& refuse) {
  CheckAmount(step.wanda(), path, refuse);
  CheckOwl(step, path, refuse);
  if (step.wanda().variant() && !step.wanda().pattern().empty()) {
    refuse(absl::StrCat(path, ".variant"), "thresholds by channel have no N:M form; remove it or the pattern");
  }
}

}  // namespace calipress::recipe
