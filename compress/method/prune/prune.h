#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/method/method.h"
#include "compress/recipe/n_of_m.h"

namespace calipress::method::prune {

// How much is removed: a share, or N of M.
struct Amount {
  double sparsity = 0.5;  // in [0, 1)
  std::optional<recipe::NOfM> pattern;
};

// Of a resolved step's fields. INVALID_RECIPE, naming `method`, for a share out of range or a pattern that is none.
absl::StatusOr<Amount> MakeAmount(std::string_view method, double sparsity, const std::string& pattern);

// Whether the weight can be pruned: floating point, [out, in], M dividing in. NaN and Inf are for the caller, who reads
// every weight anyway.
absl::Status CheckPrunable(const LinearTask& task, const Amount& amount);

absl::Status NonFiniteWeight(const LinearTask& task);

// `square_sum` of the inputs is there for every task, fits it and is finite: NON_FINITE_ACTIVATIONS where it is not.
absl::Status CheckSquareSum(std::string_view method, const std::vector<LinearTask>& tasks,
                            const InputStatistics* statistics);

// What one pass over the rows of a weight gives.
struct RowsPruned {
  at::Tensor weight;   // as task.weight, with zeros
  at::Tensor pruned;   // bool [out, in]
  double lost = 0.0;   // sum of dw_ij^2 n_j^2, n the norms
  double total = 0.0;  // sum of w_ij^2 n_j^2
};

// |w_ij| * norms_j, fp32 [out, in] on the CPU; `norms` fp32 [in] on the CPU, or undefined: all 1. What task.pruned
// holds has the score -1, below any other. NON_FINITE_WEIGHTS for NaN or Inf.
absl::StatusOr<at::Tensor> Scores(const LinearTask& task, const at::Tensor& norms);

// Scores, selection within each row and the pruned weight in one pass, a row at a time.
absl::StatusOr<RowsPruned> PruneRows(const LinearTask& task, const at::Tensor& norms, const Amount& amount);

// The weight with zeros where `mask` (and task.pruned) has them.
RowsPruned ApplyMask(const LinearTask& task, const at::Tensor& norms, const at::Tensor& mask);

// On the task's device; relative_error is lost / total.
LinearResult ResultOf(const LinearTask& task, const RowsPruned& pruned, std::string method);

}  // namespace calipress::method::prune
