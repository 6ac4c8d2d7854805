#include "compress/method/quantize/gptq/moment.h"

#include <algorithm>

#include <ATen/ops/isfinite.h>

#include "compress/base/error.h"

namespace calipress::method::gptq {

std::string NamesOf(const std::vector<LinearTask>& tasks) {
  std::string names = tasks.front().module;
  if (tasks.size() > 1) names += " and " + std::to_string(tasks.size() - 1) + " that share its input";
  return names;
}

absl::Status CheckSecondMoment(std::string_view method, const std::vector<LinearTask>& tasks,
                               const InputStatistics* statistics) {
  if (statistics == nullptr || !statistics->second_moment.defined()) {
    return DefectError(std::string(method) + " was given no second moments for " + NamesOf(tasks));
  }
  const at::Tensor& moment = statistics->second_moment;
  for (const LinearTask& task : tasks) {
    if (moment.dim() != 2 || moment.size(0) != moment.size(1) || moment.size(0) != task.weight.size(1) ||
        moment.scalar_type() != at::kFloat || moment.device() != task.weight.device()) {
      return DefectError("the second moments given for " + task.module + " do not fit its weight");
    }
  }
  // A NaN or Inf of an input reaches the diagonal.
  if (!at::isfinite(moment.diagonal()).all().item<bool>()) {
    return PreconditionError(reason::kNonFiniteActivations,
                             "the inputs of " + NamesOf(tasks) +
                                 " hold NaN or Inf (or overflow fp32 when squared); the " +
                                 "model breaks on the calibration data: check it on the same text first");
  }
  return absl::OkStatus();
}

Factored FactorOf(const at::Tensor& second_moment, bool act_order, double damping) {
  Factored factored{PlanColumns(second_moment, act_order), std::nullopt, {}};
  if (factored.plan.mean <= 0.0) {
    factored.cause = "no calibration token gave it an input other than zero";
    return factored;
  }
  factored.factor = Factorize(second_moment, factored.plan, damping);
  if (!factored.factor) {
    factored.cause =
        "its second moments are not positive definite at any damping up to " + std::to_string(std::max(1.0, damping));
  }
  return factored;
}

absl::Status NotPositiveDefinite(const std::vector<LinearTask>& tasks, const std::string& cause) {
  return PreconditionError(
      reason::kHessianNotPositiveDefinite,
      NamesOf(tasks) + ": " + cause + "; calibrate on more or other text, or set on_numeric_failure to fallback");
}

std::string DampingWarning(double asked, double taken) {
  if (taken <= asked) return "";
  return "damping raised from " + std::to_string(asked) + " to " + std::to_string(taken) +
         " for the factorization to succeed";
}

}  // namespace calipress::method::gptq
