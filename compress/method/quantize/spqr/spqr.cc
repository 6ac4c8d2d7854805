#include "compress/method/quantize/spqr/spqr.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include <ATen/ops/eye.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/grid.h"
#include "compress/method/quantize/scheme.h"
#include "compress/method/quantize/spqr/sweep.h"
#include "compress/tensor/quadratic_form.h"

namespace calipress::method {
namespace {

struct Options {
  spqr::SweepOptions sweep;
  double damping = 1.0;
  bool fail = false;  // rather than fall back to round-to-nearest in SpQR's grids
};

class Spqr : public Method {
 public:
  explicit Spqr(const Options& options) : options_(options) {}

  StatisticsNeeds needs() const override { return {.second_moment = true}; }
  int64_t row_unit() const override { return options_.sweep.scale_group_size; }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics* statistics) const override {
    if (tasks.empty()) return std::vector<LinearResult>();
    for (const LinearTask& task : tasks) CALIPRESS_RETURN_IF_ERROR(CheckTask(task, statistics));
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor& moment = statistics->second_moment;
    // A NaN or Inf of an input reaches the diagonal.
    if (!at::isfinite(moment.diagonal()).all().item<bool>()) {
      return PreconditionError(reason::kNonFiniteActivations,
                               "the inputs of " + tasks.front().module +
                                   " hold NaN or Inf (or overflow fp32 when squared); the model breaks on the " +
                                   "calibration data: check it on the same text first");
    }
    gptq::ColumnPlan plan = gptq::PlanColumns(moment, options_.sweep.act_order);
    std::string cause = "no calibration token gave it an input other than zero";
    std::optional<gptq::Factor> factor;
    if (plan.mean > 0.0) {
      factor = gptq::Factorize(moment, plan, options_.damping);
      cause = "its second moments are not positive definite at any damping up to " +
              std::to_string(std::max(1.0, options_.damping));
    }
    const bool fallback = !factor.has_value();
    if (fallback) {
      if (options_.fail) {
        return PreconditionError(reason::kHessianNotPositiveDefinite,
                                 tasks.front().module + ": " + cause +
                                     "; calibrate on more or other text, or set on_numeric_failure to fallback");
      }
      // Inputs that are independent and of one size: every column is rounded on its own.
      LogWarning("spqr falls back to round-to-nearest", {{"module", tasks.front().module}, {"cause", cause}});
      plan.dead.clear();
      factor = gptq::Factor{at::eye(moment.size(0), at::kFloat), 0.0};
    }
    factor->lower = factor->lower.cpu();
    std::vector<LinearResult> results = Solve(tasks, moment, plan, *factor);
    int64_t rows = 0;
    for (const LinearTask& task : tasks) rows += task.weight.size(0);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (size_t i = 0; i < tasks.size(); ++i) {
      LinearResult& result = results[i];
      result.seconds = seconds * static_cast<double>(tasks[i].weight.size(0)) / static_cast<double>(rows);
      if (fallback) {
        result.method = "spqr (fallback)";
        result.warning = "rounded to nearest: " + cause;
      } else if (factor->damping > options_.damping) {
        result.warning = "damping raised from " + std::to_string(options_.damping) + " to " +
                         std::to_string(factor->damping) + " for the factorization to succeed";
      }
    }
    return results;
  }

 private:
  absl::Status CheckTask(const LinearTask& task, const InputStatistics* statistics) const {
    CALIPRESS_RETURN_IF_ERROR(
        CheckWeight(task.module, task.weight, {.bits = options_.sweep.bits, .group_size = options_.sweep.group_size}));
    if (task.pruned.defined()) {
      return UserError(reason::kInvalidRecipe,
                       task.module +
                           " was pruned by an earlier step, and SpQR's zero points are no codes: "
                           "it cannot keep weights at zero; quantize pruned weights with gptq");
    }
    if (statistics == nullptr || !statistics->second_moment.defined()) {
      return DefectError("SpQR was given no second moments for " + task.module);
    }
    const at::Tensor& moment = statistics->second_moment;
    if (moment.dim() != 2 || moment.size(0) != moment.size(1) || moment.size(0) != task.weight.size(1) ||
        moment.scalar_type() != at::kFloat || moment.device() != task.weight.device()) {
      return DefectError("the second moments given for " + task.module + " do not fit its weight");
    }
    return absl::OkStatus();
  }

  // The sweep runs on the processor wherever the weights are.
  std::vector<LinearResult> Solve(const std::vector<LinearTask>& tasks, const at::Tensor& moment,
                                  const gptq::ColumnPlan& plan, const gptq::Factor& factor) const {
    std::vector<spqr::SweepTask> sweeps;
    std::vector<at::Tensor> weights;
    for (const LinearTask& task : tasks) {
      weights.push_back(task.weight.contiguous());
      const auto without_dead = [&](const at::Tensor& weight) {
        return plan.dead.empty() ? weight : weight.index_fill(1, at::tensor(plan.dead, at::kLong), 0.0);
      };
      spqr::SweepTask& sweep = sweeps.emplace_back();
      sweep.weight = without_dead(weights.back().cpu());
      if (task.whole.defined()) sweep.whole = without_dead(task.whole.contiguous().cpu());
    }
    spqr::Sweep(options_.sweep, plan, factor, sweeps);
    // tr(W S W') / mean is in the units of the loss.
    const std::vector<double> forms = tensor::QuadraticForms(weights, moment);
    std::vector<LinearResult> results;
    for (size_t i = 0; i < tasks.size(); ++i) {
      LinearResult& result = results.emplace_back();
      result.method = "spqr";
      result.weight = DequantizeSpqr(sweeps[i].result).to(tasks[i].weight.device());
      result.spqr = std::move(sweeps[i].result);
      const double error = std::max(0.0, sweeps[i].loss - factor.damping * sweeps[i].shift) * plan.mean;
      result.energy = forms[i];
      result.relative_error = forms[i] > 0.0 ? error / forms[i] : 0.0;
      result.damping = factor.damping;
      result.dead_columns = static_cast<int64_t>(plan.dead.size());
    }
    return results;
  }

  const Options options_;
};

absl::Status Invalid(const std::string& option, const std::string& value, const std::string& hint) {
  return UserError(reason::kInvalidRecipe, "spqr." + option + " is " + value + "; " + hint);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeSpqr(const v1::Step& step) {
  const v1::Spqr& spqr = step.spqr();
  if (spqr.bits() < 2 || spqr.bits() > 4) return Invalid("bits", std::to_string(spqr.bits()), "choose 2, 3 or 4");
  if (spqr.group_size() < 8 || spqr.group_size() > spqr::kMaxGroupSize || spqr.group_size() % 8 != 0) {
    return Invalid("group_size", std::to_string(spqr.group_size()),
                   "give a multiple of 8, at most " + std::to_string(spqr::kMaxGroupSize));
  }
  if (spqr.scale_bits() < 1 || spqr.scale_bits() > 8) {
    return Invalid("scale_bits", std::to_string(spqr.scale_bits()), "choose 1 to 8");
  }
  if (spqr.zero_bits() < 1 || spqr.zero_bits() > 8) {
    return Invalid("zero_bits", std::to_string(spqr.zero_bits()), "choose 1 to 8");
  }
  const int64_t run = spqr.scale_group_size();
  if (run < 1 || run > spqr::kMaxScaleGroupSize || (run & (run - 1)) != 0) {
    return Invalid("scale_group_size", std::to_string(run),
                   "give a power of two, at most " + std::to_string(spqr::kMaxScaleGroupSize));
  }
  if (!(spqr.outlier_threshold() >= 0.0)) {
    return Invalid("outlier_threshold", std::to_string(spqr.outlier_threshold()),
                   "give a number above 0, as 0.2, or 0 to keep none");
  }
  if (!std::isfinite(spqr.damping()) || spqr.damping() <= 0.0) {
    return Invalid("damping", std::to_string(spqr.damping()), "give a number above 0, as 1");
  }
  Options options;
  options.sweep.bits = spqr.bits();
  options.sweep.scale_bits = spqr.scale_bits();
  options.sweep.zero_bits = spqr.zero_bits();
  options.sweep.group_size = spqr.group_size();
  options.sweep.scale_group_size = run;
  if (spqr.outlier_threshold() > 0.0) options.sweep.outlier_threshold = spqr.outlier_threshold();
  options.sweep.leave_one_out = !spqr.simplified_outliers();
  options.sweep.shrink_ranges = ObserverOf(spqr.observer()) == Observer::kMse;
  options.sweep.act_order = spqr.act_order();
  options.damping = spqr.damping();
  options.fail = spqr.on_numeric_failure() == v1::ON_NUMERIC_FAILURE_FAIL;
  return std::make_unique<Spqr>(options);
}

}  // namespace calipress::method
