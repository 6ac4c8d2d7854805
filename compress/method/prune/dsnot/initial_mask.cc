#include "compress/method/prune/dsnot/initial_mask.h"

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

}  // namespace calipress::method::dsnot
