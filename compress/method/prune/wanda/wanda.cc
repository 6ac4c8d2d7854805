#include "compress/method/prune/wanda/wanda.h"

#include <chrono>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/method/prune/prune.h"

namespace calipress::method {
namespace {

// Where the bisection starts, ends and stops (methods.md 7.2).
constexpr double kAlphaStart = 0.4, kAlphaEnd = 0.8, kTolerance = 0.001;

struct VariantMask {
  at::Tensor mask;  // bool [out, in]
  double sparsity;
};

// From each row the smallest scores whose sum is at most alpha of the row's, with one alpha for the matrix, found by
// bisection. The reference also removes what equals a row's largest removed score; here exactly the smallest go.
VariantMask SelectByShare(const at::Tensor& scores, double sparsity) {
  const auto [sorted, columns] = at::sort(scores.clamp_min(0.0), /*stable=*/true, /*dim=*/1, /*descending=*/false);
  const at::Tensor sums = sorted.cumsum(1, at::kDouble);
  const at::Tensor totals = sums.select(1, sums.size(1) - 1).unsqueeze(1);
  double low = 0.0, high = kAlphaEnd, alpha = kAlphaStart;
  at::Tensor taken = sums.le(totals.mul(alpha));
  double reached = taken.to(at::kDouble).mean().item<double>();
  while (std::fabs(reached - sparsity) > kTolerance && high - low >= kTolerance) {
    (reached > sparsity ? high : low) = alpha;
    alpha = 0.5 * (low + high);
    taken = sums.le(totals.mul(alpha));
    reached = taken.to(at::kDouble).mean().item<double>();
  }
  return {at::zeros_like(taken).scatter_(1, columns, taken), reached};
}

class Wanda : public Method {
 public:
  Wanda(const prune::Amount& amount, bool variant) : amount_(amount), variant_(variant) {}

  StatisticsNeeds needs() const override { return {.square_sum = true}; }
  // The variant's threshold is found over the matrix.
  int64_t row_unit() const override { return variant_ ? 0 : 1; }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics* statistics) const override {
    for (const LinearTask& task : tasks) CALIPRESS_RETURN_IF_ERROR(prune::CheckPrunable(task, amount_));
    CALIPRESS_RETURN_IF_ERROR(prune::CheckSquareSum("wanda", tasks, statistics));
    std::vector<LinearResult> results;
    if (tasks.empty()) return results;
    const at::Tensor norms = statistics->square_sum.cpu().sqrt().contiguous();
    const int64_t dead = norms.eq(0.0).sum().item<int64_t>();
    for (const LinearTask& task : tasks) {
      const auto start = std::chrono::steady_clock::now();
      CALIPRESS_ASSIGN_OR_RETURN(LinearResult result, Prune(task, norms));
      result.dead_columns = dead;
      result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      results.push_back(std::move(result));
    }
    return results;
  }

 private:
  absl::StatusOr<LinearResult> Prune(const LinearTask& task, const at::Tensor& norms) const {
    if (!variant_) {
      CALIPRESS_ASSIGN_OR_RETURN(prune::RowsPruned pruned, prune::PruneRows(task, norms, amount_));
      return prune::ResultOf(task, pruned, "wanda");
    }
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor scores, prune::Scores(task, norms));
    const VariantMask variant = SelectByShare(scores, amount_.sparsity);
    LinearResult result = prune::ResultOf(task, prune::ApplyMask(task, norms, variant.mask), "wanda");
    if (std::fabs(variant.sparsity - amount_.sparsity) > kTolerance) {
      result.warning = "the variant's bisection reached a sparsity of " + std::to_string(variant.sparsity) + ", not " +
                       std::to_string(amount_.sparsity);
    }
    return result;
  }

  const prune::Amount amount_;
  const bool variant_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeWanda(const v1::Step& step) {
  const v1::Wanda& options = step.wanda();
  CALIPRESS_ASSIGN_OR_RETURN(const prune::Amount amount,
                             prune::MakeAmount("wanda", options.sparsity(), options.pattern()));
  if (options.variant() && amount.pattern) {
    return UserError(reason::kInvalidRecipe, "wanda.variant has no N:M form; remove it or the pattern");
  }
  return std::make_unique<Wanda>(amount, options.variant());
}

}  // namespace calipress::method
