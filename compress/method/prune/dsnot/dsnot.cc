#include "compress/method/prune/dsnot/dsnot.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/method/prune/dsnot/initial_mask.h"
#include "compress/method/prune/dsnot/swap.h"
#include "compress/method/prune/mask.h"
#include "compress/method/quantize/grid.h"
#include "compress/recipe/n_of_m.h"
#include "compress/tensor/quadratic_form.h"

namespace calipress::method {
namespace {

using dsnot::RowSwapper;
using dsnot::SwapOptions;

// Vectors [in] in fp32 on the CPU.
struct Columns {
  at::Tensor factor;    // of the initial score
  at::Tensor norm;      // sqrt(sum x^2): of Wanda's metric
  at::Tensor mean_sum;  // s: per sequence
  at::Tensor variance;  // var^gamma, above 0
  bool fell_back = false;
};

class Dsnot : public Method {
 public:
  Dsnot(const v1::Dsnot& options, std::optional<recipe::NOfM> pattern) : options_(options), pattern_(pattern) {}

  StatisticsNeeds needs() const override {
    StatisticsNeeds needs;
    needs.square_sum = needs.sum = needs.sequence_variance = true;
    needs.second_moment = options_.initial() == v1::Dsnot::INITIAL_SPARSEGPT;
    return needs;
  }

  int64_t row_unit() const override { return 1; }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics* statistics) const override {
    if (statistics == nullptr || !statistics->sum.defined() || !statistics->variance_sum.defined() ||
        !statistics->square_sum.defined() || (needs().second_moment && !statistics->second_moment.defined())) {
      return DefectError("DSnoT was given less statistics than it needs");
    }
    for (const LinearTask& task : tasks) CALIPRESS_RETURN_IF_ERROR(Check(task, *statistics));
    const Columns columns = MakeColumns(*statistics);
    std::vector<LinearResult> results;
    for (const LinearTask& task : tasks) {
      const auto start = std::chrono::steady_clock::now();
      LinearResult& result = results.emplace_back();
      result.method = "dsnot";
      result.pruned = Mask(task, columns).to(task.weight.device());
      result.weight = task.weight.masked_fill(result.pruned, 0.0).contiguous();
      std::tie(result.relative_error, result.energy) = Error(task.weight, result.pruned, *statistics);
      result.dead_columns = statistics->square_sum.eq(0).sum().item<int64_t>();
      if (columns.fell_back) {
        result.warning = "the second moment is not positive definite at any damping; the initial mask is Wanda's";
      }
      result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    return results;
  }

 private:
  absl::Status Check(const LinearTask& task, const InputStatistics& statistics) const {
    CALIPRESS_RETURN_IF_ERROR(CheckWeight(task.module, task.weight, {.group_size = -1}));
    if (pattern_ && task.weight.size(1) % pattern_->of != 0) {
      return UserError(reason::kInvalidRecipe,
                       task.module + ".weight has " + std::to_string(task.weight.size(1)) +
                           " columns, which dsnot.pattern's runs of " + std::to_string(pattern_->of) +
                           " do not divide; choose a pattern that does, or add the linear to the step's `ignore`");
    }
    for (const at::Tensor& sums : {statistics.square_sum, statistics.sum, statistics.variance_sum}) {
      if (at::isfinite(sums).all().item<bool>()) continue;
      return PreconditionError(
          reason::kNonFiniteActivations,
          task.module + ": its calibration inputs hold NaN or Inf; check the model, or the calibration text");
    }
    return absl::OkStatus();
  }

  Columns MakeColumns(const InputStatistics& statistics) const {
    Columns columns;
    columns.factor = dsnot::ColumnFactors(options_.initial(), statistics, &columns.fell_back);
    columns.norm = statistics.square_sum.sqrt().cpu().contiguous();
    columns.mean_sum =
        statistics.sum.div(static_cast<double>(std::max<int64_t>(1, statistics.sequences))).cpu().contiguous();
    const at::Tensor variance =
        statistics.variance_sum.div(static_cast<double>(std::max<int64_t>(1, statistics.tokens)));
    // A column that never varies contributes the same in every sequence: it comes first, not 0 / 0.
    columns.variance = variance.cpu()
                           .pow(options_.gamma())
                           .clamp(std::numeric_limits<float>::min(), std::numeric_limits<float>::max())
                           .contiguous();
    return columns;
  }

  SwapOptions SwapsOf(const LinearTask& task) const {
    const bool attention =
        task.role == "q_proj" || task.role == "k_proj" || task.role == "v_proj" || task.role == "o_proj";
    SwapOptions swaps;
    swaps.max_cycles = options_.layers() == v1::Dsnot::LAYERS_ALL || attention ? options_.max_cycles() : 0;
    swaps.threshold = options_.threshold();
    swaps.same_sign = options_.same_sign() || pattern_.has_value();
    swaps.run = pattern_ ? pattern_->of : 0;
    return swaps;
  }

  // bool [out, in] on the CPU. Rows are independent: neither threads nor other linears change any.
  at::Tensor Mask(const LinearTask& task, const Columns& columns) const {
    const at::Tensor weight = task.weight.to(at::kCPU, at::kFloat).contiguous();
    const int64_t rows = weight.size(0), n = weight.size(1);
    at::Tensor mask = at::empty({rows, n}, at::kBool);
    const at::Tensor before = task.pruned.defined() ? task.pruned.cpu().contiguous() : at::Tensor();
    const bool* earlier = before.defined() ? before.const_data_ptr<bool>() : nullptr;
    const float* weights = weight.const_data_ptr<float>();
    const float* factor = columns.factor.const_data_ptr<float>();
    const float* norm = columns.norm.const_data_ptr<float>();
    const float* sum = columns.mean_sum.const_data_ptr<float>();
    const float* variance = columns.variance.const_data_ptr<float>();
    bool* pruned = mask.mutable_data_ptr<bool>();
    const SwapOptions swaps = SwapsOf(task);
    const int64_t count = prune::CountOf(n, options_.sparsity());
    at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
      RowSwapper swapper(n, swaps);
      std::vector<float> scores(n), contribution(n), growth(n);
      for (int64_t row = begin; row < end; ++row) {
        const float* w = weights + row * n;
        for (int64_t j = 0; j < n; ++j) scores[j] = std::fabs(w[j]) * factor[j];
        // What an earlier step pruned goes first and stays.
        for (int64_t j = 0; earlier != nullptr && j < n; ++j) scores[j] = earlier[row * n + j] ? -1.0f : scores[j];
        bool* to = pruned + row * n;
        if (pattern_) {
          prune::MarkSmallestOfRuns(scores.data(), n, pattern_->zeros, pattern_->of, to);
        } else {
          prune::MarkSmallest(scores.data(), n, count, to);
        }
        for (int64_t j = 0; earlier != nullptr && j < n; ++j) to[j] = to[j] || earlier[row * n + j];
        if (swaps.max_cycles == 0) continue;
        for (int64_t j = 0; j < n; ++j) {
          scores[j] = std::fabs(w[j]) * norm[j];
          contribution[j] = w[j] * sum[j];
          growth[j] = contribution[j] / variance[j];
        }
        swapper.Swap({contribution.data(), growth.data(), scores.data()}, to);
      }
    });
    return mask;
  }

  // tr(dW S dW') / tr(W S W') and the denominator where S is known, else with its diagonal alone.
  static std::pair<double, double> Error(const at::Tensor& weight, const at::Tensor& pruned,
                                         const InputStatistics& statistics) {
    const at::Tensor all = weight.to(at::kFloat).contiguous();
    const at::Tensor gone = all.masked_fill(pruned.logical_not(), 0.0);
    if (statistics.second_moment.defined()) {
      const auto forms = tensor::QuadraticForms({gone, all}, statistics.second_moment);
      return {forms[1] > 0.0 ? forms[0] / forms[1] : 0.0, forms[1]};
    }
    const auto form = [&](const at::Tensor& w) {
      return w.square().sum(0, /*keepdim=*/false, at::kDouble).mul(statistics.square_sum).sum().item<double>();
    };
    const double whole = form(all);
    return {whole > 0.0 ? form(gone) / whole : 0.0, whole};
  }

  const v1::Dsnot options_;
  const std::optional<recipe::NOfM> pattern_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeDsnot(const v1::Step& step) {
  const v1::Dsnot& options = step.dsnot();
  std::optional<recipe::NOfM> pattern;
  if (!options.pattern().empty()) {
    pattern = recipe::ParseNOfM(options.pattern());
    if (!pattern) return UserError(reason::kInvalidRecipe, "dsnot.pattern is no N:M; give one like 2:4");
  } else if (!(options.sparsity() >= 0.0 && options.sparsity() < 1.0)) {
    return UserError(reason::kInvalidRecipe, "dsnot.sparsity must be 0 or more and below 1");
  }
  if (options.max_cycles() < 0 || !(options.threshold() >= 0.0) || !(options.gamma() >= 0.0)) {
    return UserError(reason::kInvalidRecipe, "dsnot.max_cycles, threshold and gamma must be 0 or more");
  }
  return std::make_unique<Dsnot>(options, pattern);
}

}  // namespace calipress::method
