#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "compress/method/method.h"
#include "compress/method/quantize/gptq/factor.h"

// What methods that factor the second moment say of it.
namespace calipress::method::gptq {

// "model.layers.0.self_attn.q_proj and 2 that share its input"
std::string NamesOf(const std::vector<LinearTask>& tasks);

// The second moment is there, fits every task and is finite: NON_FINITE_ACTIVATIONS where it is not. `tasks` has some.
absl::Status CheckSecondMoment(std::string_view method, const std::vector<LinearTask>& tasks,
                               const InputStatistics* statistics);

struct Factored {
  ColumnPlan plan;
  std::optional<Factor> factor;
  std::string cause;  // why there is no factor
};
Factored FactorOf(const at::Tensor& second_moment, bool act_order, double damping);

// HESSIAN_NOT_POSITIVE_DEFINITE, for on_numeric_failure: fail.
absl::Status NotPositiveDefinite(const std::vector<LinearTask>& tasks, const std::string& cause);

// What the report says where the factorization took more damping than asked for; empty where it did not.
std::string DampingWarning(double asked, double taken);

}  // namespace calipress::method::gptq
