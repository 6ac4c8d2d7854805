#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace calipress::method::gptq {

// The order in which columns are quantized, and what the diagonal of the second moment says of them.
struct ColumnPlan {
  std::vector<int64_t> order;  // order[p] is the column that comes p-th
  std::vector<int64_t> dead;   // columns whose input was always zero, ascending
  double mean = 0.0;           // of the diagonal over the columns that are not dead; 0: all are dead
};

// `act_order`: by descending diagonal, equal ones in their own order; otherwise as they stand.
ColumnPlan PlanColumns(const at::Tensor& second_moment, bool act_order);

// L of P (S / mean + D + damping I) P' = L L', lower triangular. P takes columns in reverse order of processing:
// row i of L belongs to the column that comes (n - 1 - i)-th. D is 1 for dead columns, so that their rows are like
// those of the identity. The upper triangle holds anything.
struct Factor {
  at::Tensor lower;  // [n, n] fp32
  double damping = 0.0;
};

// Tries `damping`, ten times as much while the factorization fails, at last 1. Nullopt where none is positive definite
// in fp32. Needs a finite second moment and a mean above 0.
std::optional<Factor> Factorize(const at::Tensor& second_moment, const ColumnPlan& plan, double damping);

}  // namespace calipress::method::gptq
