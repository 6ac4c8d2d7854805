#include "compress/recipe/pattern.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {

int StepFor(const v1::Recipe& recipe, std::string_view module) {
  for (int i = recipe.steps_size() - 1; i >= 0; --i) {
    const v1::Step& step = recipe.steps(i);
    if (MatchesAny(TargetsOrDefault(step.targets()), module) && !MatchesAny(IgnoreOrDefault(step.ignore()), module)) {
      return i;
    }
  }
  return -1;
}

bool NeedsStatistics(const v1::Step& step) { return step.has_gptq(); }

checkpoint::QuantizationScheme SchemeOf(const v1::Step& step) {
  checkpoint::QuantizationScheme scheme;
  const auto read = [&scheme](const auto& method) {
    if (method.has_bits()) scheme.bits = method.bits();
    if (method.has_group_size()) scheme.group_size = method.group_size();
    if (method.has_symmetric()) scheme.symmetric = method.symmetric();
  };
  switch (step.method_case()) {
    case v1::Step::kRtn:
      read(step.rtn());
      break;
    case v1::Step::kGptq:
      read(step.gptq());
      break;
    case v1::Step::METHOD_NOT_SET:
      break;
  }
  return scheme;
}

std::string MethodName(const v1::Step& step) {
  switch (step.method_case()) {
    case v1::Step::kRtn:
      return "rtn";
    case v1::Step::kGptq:
      return "gptq";
    case v1::Step::METHOD_NOT_SET:
      break;
  }
  return "none";
}

}  // namespace calipress::recipe
