#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"
#include "compress/recipe/n_of_m.h"

namespace calipress::recipe {
namespace {

constexpr int kMaxCycles = 1'000'000;
constexpr double kMaxGamma = 8.0;
// Columns of a panel of SparseGPT: whole blocks of its kernel.
constexpr int kMinPanel = 16, kMaxPanel = 4096, kPanelStep = 8;

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

void CheckSparseGpt(const v1::Recipe&, const v1::Step& step, const std::string& path, const Refuse& refuse) {
  const v1::SparseGpt& sparsegpt = step.sparsegpt();
  const auto check = [&](bool right, const char* field, std::string description) {
    if (!right) refuse(absl::StrCat(path, ".", field), std::move(description));
  };
  CheckAmount(sparsegpt, path, refuse);
  CheckOwl(step, path, refuse);
  // 0 is refused: the ladder that climbs by tens where the factorization fails would stay at 0.
  check(!sparsegpt.has_damping() || (sparsegpt.damping() > 0 && sparsegpt.damping() <= 1), "damping",
        absl::StrCat("must be above 0 and at most 1, not ", sparsegpt.damping(),
                     "; it is a share of the Hessian's mean diagonal (for nearly none, 1e-6)"));
  const int block = sparsegpt.block_size();
  check(!sparsegpt.has_block_size() || (block >= kMinPanel && block <= kMaxPanel && block % kPanelStep == 0),
        "block_size",
        absl::StrCat("must be a multiple of ", kPanelStep, " from ", kMinPanel, " to ", kMaxPanel, ", not ", block));
  check(v1::OnNumericFailure_IsValid(sparsegpt.on_numeric_failure()), "on_numeric_failure", "must be fallback or fail");
  const v1::SweepQuantization& quantize = sparsegpt.quantize();
  const int bits = quantize.bits(), group = quantize.group_size();
  check(!quantize.has_bits() || bits == 2 || bits == 3 || bits == 4 || bits == 8, "quantize.bits",
        absl::StrCat("must be 2, 3, 4 or 8, not ", bits));
  check(!quantize.has_group_size() || group == -1 || group >= 1, "quantize.group_size",
        absl::StrCat("must be a positive number of columns, or -1 for one scale per output channel, not ", group));
  check(v1::Observer_IsValid(quantize.observer()), "quantize.observer", "must be minmax or mse");
}

void CheckWanda(const v1::Recipe&, const v1::Step& step, const std::string& path, const Refuse& refuse) {
  CheckAmount(step.wanda(), path, refuse);
  CheckOwl(step, path, refuse);
  if (step.wanda().variant() && !step.wanda().pattern().empty()) {
    refuse(absl::StrCat(path, ".variant"), "thresholds by channel have no N:M form; remove it or the pattern");
  }
}

}  // namespace calipress::recipe
