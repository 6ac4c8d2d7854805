#include "compress/method/prune/dsnot/initial_mask.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/ones_like.h>

#include "compress/method/quantize/gptq/factor.h"

namespace calipress::method::dsnot {
namespace {

constexpr double kDamping = 0.01;

// diag(H^-1) in the order of columns; undefined where H has no factor. With H = L L', H^-1 = L^-T L^-1, so that its
// diagonal holds the squared norms of the columns of L^-1.
at::Tensor InverseDiagonal(const at::Tensor& second_moment) {
  const gptq::ColumnPlan plan = gptq::PlanColumns(second_moment, /*act_order=*/false);
  if (!(plan.mean > 0.0)) return {};
  const std::optional<gptq::Factor> factor = gptq::Factorize(second_moment, plan, kDamping);
  if (!factor) return {};
  const at::Tensor identity = at::eye(second_moment.size(0), factor->lower.options());
  const at::Tensor inverse = at::linalg_solve_triangular(factor->lower, identity, /*upper=*/false);
  return inverse.square().sum(0).flip(0);  // the factor has columns in reverse order
}

}  // namespace

at::Tensor ColumnFactors(v1::Dsnot::Initial initial, const InputStatistics& statistics, bool* fell_back) {
  *fell_back = false;
  if (initial == v1::Dsnot::INITIAL_MAGNITUDE) return at::ones_like(statistics.square_sum).cpu();
  if (initial == v1::Dsnot::INITIAL_SPARSEGPT) {
    const at::Tensor diagonal = InverseDiagonal(statistics.second_moment);
    if (diagonal.defined()) {
      // Dead columns go first, as SparseGPT has it.
      return diagonal.rsqrt().masked_fill(statistics.square_sum.eq(0), 0.0).cpu().contiguous();
    }
    *fell_back = true;
  }
  return statistics.square_sum.sqrt().cpu().contiguous();
}

void PruneSmallest(const float* scores, int64_t columns, int64_t run, int64_t zeros, int32_t* order, bool* pruned) {
  if (zeros == 0) return;
  for (int64_t first = 0; first < columns; first += run) {
    std::iota(order, order + run, static_cast<int32_t>(first));
    std::nth_element(order, order + zeros - 1, order + run, [&](int32_t a, int32_t b) {
      if (pruned[a] != pruned[b]) return pruned[a];
      return scores[a] != scores[b] ? scores[a] < scores[b] : a < b;
    });
    // Not inside the comparison's lifetime: it reads `pruned`.
    for (int64_t i = 0; i < zeros; ++i) pruned[order[i]] = true;
  }
}

}  // namespace calipress::method::dsnot
