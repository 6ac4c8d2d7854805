#include "compress/recipe/owl.h"

#include <algorithm>

namespace calipress::recipe {
namespace {

constexpr double kShareLambda = 0.08;
constexpr int kPatternLambda = 2;

template <typename Method>
void SetRatio(double sparsity, const std::string& pattern, Method* method) {
  method->set_sparsity(sparsity);
  method->set_pattern(pattern);
  method->clear_owl();
}

}  // namespace

const v1::Owl* OwlOf(const v1::Step& step) {
  if (step.has_magnitude() && step.magnitude().has_owl()) return &step.magnitude().owl();
  if (step.has_wanda() && step.wanda().has_owl()) return &step.wanda().owl();
  if (step.has_sparsegpt() && step.sparsegpt().has_owl()) return &step.sparsegpt().owl();
  return nullptr;
}

bool HasOwl(const v1::Recipe& recipe) {
  return std::any_of(recipe.steps().begin(), recipe.steps().end(),
                     [](const v1::Step& step) { return OwlOf(step) != nullptr; });
}

int PatternRoom(const NOfM& pattern) { return std::min(pattern.zeros - 1, pattern.of - pattern.zeros - 1); }

double DefaultLambda(const std::optional<NOfM>& pattern) {
  return pattern ? std::min(kPatternLambda, PatternRoom(*pattern)) : kShareLambda;
}

v1::Step WithRatio(v1::Step step, double sparsity, const std::string& pattern) {
  if (step.has_magnitude()) SetRatio(sparsity, pattern, step.mutable_magnitude());
  if (step.has_wanda()) SetRatio(sparsity, pattern, step.mutable_wanda());
  if (step.has_sparsegpt()) SetRatio(sparsity, pattern, step.mutable_sparsegpt());
  return step;
}

}  // namespace calipress::recipe
