#include "compress/method/quantize/gptq/factor.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include <ATen/Parallel.h>
#include <ATen/ops/diagonal.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/tensor.h>

// LAPACK inside libtorch_cpu, in place. Weak: torch's builds for other processors do not export it.
extern "C" __attribute__((weak)) void spotrf_(const char* uplo, const int* n, float* a, const int* lda, int* info);

namespace calipress::method::gptq {
namespace {

// Fills the lower triangle of `out` (row-major) with the permuted, scaled and damped matrix.
void GatherLower(const at::Tensor& second_moment, const ColumnPlan& plan, double damping, at::Tensor& out) {
  const int64_t n = second_moment.size(0);
  const float* source = second_moment.const_data_ptr<float>();
  float* target = out.mutable_data_ptr<float>();
  const float scale = static_cast<float>(1.0 / plan.mean);
  const std::vector<int64_t> columns(plan.order.rbegin(), plan.order.rend());
  at::parallel_for(0, n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = source + columns[i] * n;
      float* to = target + i * n;
      for (int64_t j = 0; j <= i; ++j) to[j] = row[columns[j]] * scale;
      to[i] = (row[columns[i]] == 0.0f ? 1.0f : to[i]) + static_cast<float>(damping);
    }
  });
}

bool CholeskyOnCpu(at::Tensor& matrix) {
  if (&spotrf_ == nullptr) {
    auto [factor, info] = at::linalg_cholesky_ex(matrix);
    if (info.item<int>() != 0) return false;
    matrix = factor.contiguous();
    return true;
  }
  // A row-major lower triangle is a column-major upper one: A = U'U with U = L'.
  const int n = static_cast<int>(matrix.size(0));
  int info = 0;
  spotrf_("U", &n, matrix.mutable_data_ptr<float>(), &n, &info);
  return info == 0;
}

bool TryFactorize(const at::Tensor& second_moment, const ColumnPlan& plan, double damping, at::Tensor& lower) {
  if (second_moment.is_cpu()) {
    if (!lower.defined()) lower = at::empty(second_moment.sizes(), second_moment.options());
    GatherLower(second_moment, plan, damping, lower);
    if (!CholeskyOnCpu(lower)) return false;
  } else {
    std::vector<int64_t> reversed(plan.order.rbegin(), plan.order.rend());
    at::Tensor columns = at::tensor(reversed, at::kLong).to(second_moment.device());
    at::Tensor matrix = second_moment.index_select(0, columns).index_select(1, columns).mul_(1.0 / plan.mean);
    at::Tensor diagonal = matrix.diagonal();
    diagonal.masked_fill_(diagonal.eq(0), 1.0).add_(damping);
    at::Tensor info;
    std::tie(lower, info) = at::linalg_cholesky_ex(matrix);
    if (info.item<int>() != 0) return false;
    lower = lower.contiguous();
  }
  // LAPACK takes a NaN pivot for a good one.
  at::Tensor diagonal = lower.diagonal().cpu().contiguous();
  const float* values = diagonal.const_data_ptr<float>();
  return std::all_of(values, values + diagonal.numel(), [](float v) { return std::isfinite(v) && v > 0.0f; });
}

}  // namespace

ColumnPlan PlanColumns(const at::Tensor& second_moment, bool act_order) {
  const at::Tensor diagonal = second_moment.diagonal().cpu().contiguous();
  const float* values = diagonal.const_data_ptr<float>();
  ColumnPlan plan;
  plan.order.resize(diagonal.numel());
  std::iota(plan.order.begin(), plan.order.end(), int64_t{0});
  if (act_order) {
    std::stable_sort(plan.order.begin(), plan.order.end(), [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  }
  for (int64_t j = 0; j < diagonal.numel(); ++j) {
    plan.mean += values[j];
    if (values[j] == 0.0f) plan.dead.push_back(j);
  }
  const int64_t live = diagonal.numel() - static_cast<int64_t>(plan.dead.size());
  plan.mean = live == 0 ? 0.0 : plan.mean / static_cast<double>(live);
  return plan;
}

std::optional<Factor> Factorize(const at::Tensor& second_moment, const ColumnPlan& plan, double damping) {
  Factor factor;
  for (double d = damping;; d = std::min(10.0 * d, 1.0)) {
    if (TryFactorize(second_moment, plan, d, factor.lower)) {
      factor.damping = d;
      return factor;
    }
    if (d >= 1.0) return std::nullopt;
  }
}

}  // namespace calipress::method::gptq
