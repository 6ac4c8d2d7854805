#include "compress/recipe/few_tokens.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

bool InvertsHessian(const v1::Step& step) {
  return step.has_gptq() || step.has_sparsegpt() || step.has_spqr() ||
         (step.has_dsnot() && step.dsnot().initial() == v1::Dsnot::INITIAL_SPARSEGPT);
}

}  // namespace

std::optional<std::string> FewTokensWarning(const v1::Recipe& recipe, const arch::ArchSpec& spec, int64_t tokens) {
  const StepTable table(recipe);
  std::optional<arch::LinearSpec> widest;
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const arch::LinearSpec& linear : arch::BlockLinears(spec, block)) {
      if (linear.in <= tokens || (widest && widest->in >= linear.in)) continue;
      const std::vector<int> steps = table.StepsFor(linear.module);
      const auto inverts = [&](int step) { return InvertsHessian(recipe.steps(step)); };
      if (std::any_of(steps.begin(), steps.end(), inverts)) widest = linear;
    }
  }
  if (!widest) return std::nullopt;
  return absl::StrCat(tokens, " calibration tokens are fewer than the ", widest->in, " input columns of ",
                      widest->module,
                      ": its Hessian is singular, and damping alone decides what the tokens do not "
                      "show. Give more samples, or longer ones");
}

}  // namespace calipress::recipe
