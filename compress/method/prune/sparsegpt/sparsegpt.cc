#include "compress/method/prune/sparsegpt/sparsegpt.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>

#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/method/prune/prune.h"
#include "compress/method/prune/sparsegpt/sweep.h"
#include "compress/method/quantize/gptq/moment.h"
#include "compress/method/quantize/grid.h"
#include "compress/method/quantize/masked_weight.h"
#include "compress/method/quantize/rtn/rtn.h"
#include "compress/method/quantize/scheme.h"
#include "compress/tensor/quadratic_form.h"

namespace calipress::method {
namespace {

struct Options {
  sparsegpt::SweepOptions sweep;
  Observer observer = Observer::kMinMax;  // of the joint grid
  double damping = 0.01;
  bool fail = false;  // rather than prune and make up for nothing
};

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class SparseGpt : public Method {
 public:
  explicit SparseGpt(const Options& options) : options_(options) {}

  StatisticsNeeds needs() const override { return {.second_moment = true}; }
  // Unstructured, the rows of a panel share a threshold.
  int64_t row_unit() const override {
    if (!options_.sweep.amount.pattern) return 0;
    return options_.sweep.scheme ? RowUnit(*options_.sweep.scheme) : 1;
  }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics* statistics) const override {
    if (tasks.empty()) return std::vector<LinearResult>();
    checkpoint::QuantizationScheme scheme{.group_size = -1};
    if (options_.sweep.scheme) scheme = *options_.sweep.scheme;
    for (const LinearTask& task : tasks) {
      CALIPRESS_RETURN_IF_ERROR(prune::CheckPrunable(task, options_.sweep.amount));
      CALIPRESS_RETURN_IF_ERROR(CheckWeight(task.module, task.weight, scheme));
    }
    CALIPRESS_RETURN_IF_ERROR(gptq::CheckSecondMoment("SparseGPT", tasks, statistics));
    const auto start = std::chrono::steady_clock::now();
    gptq::Factored factored = gptq::FactorOf(statistics->second_moment, /*act_order=*/false, options_.damping);
    if (!factored.factor && options_.fail) return gptq::NotPositiveDefinite(tasks, factored.cause);
    CALIPRESS_ASSIGN_OR_RETURN(std::vector<LinearResult> results,
                               factored.factor ? Solve(tasks, statistics->second_moment, factored)
                                               : FallBack(tasks, statistics->second_moment, factored.cause));
    int64_t rows = 0;
    for (const LinearTask& task : tasks) rows += task.weight.size(0);
    const double seconds = SecondsSince(start);
    for (size_t i = 0; i < tasks.size(); ++i) {
      results[i].dead_columns = static_cast<int64_t>(factored.plan.dead.size());
      results[i].seconds = seconds * static_cast<double>(tasks[i].weight.size(0)) / static_cast<double>(rows);
    }
    return results;
  }

 private:
  // Wanda's scores, or magnitudes where every input was zero; each row loses its share, and nothing makes up for it.
  absl::StatusOr<std::vector<LinearResult>> FallBack(const std::vector<LinearTask>& tasks, const at::Tensor& moment,
                                                     const std::string& cause) const {
    LogWarning("sparsegpt falls back to pruning alone", {{"module", gptq::NamesOf(tasks)}, {"cause", cause}});
    at::Tensor norms = moment.diagonal().cpu().clamp_min(0.0).sqrt().contiguous();
    if (norms.max().item<float>() == 0.0f) norms.reset();
    std::vector<LinearResult> results;
    for (const LinearTask& task : tasks) {
      CALIPRESS_ASSIGN_OR_RETURN(prune::RowsPruned pruned, prune::PruneRows(task, norms, options_.sweep.amount));
      LinearResult result = prune::ResultOf(task, pruned, "sparsegpt (fallback)");
      if (options_.sweep.scheme) {
        LinearTask rest = task;
        rest.weight = result.weight;
        rest.pruned = result.pruned;
        LinearResult rounded =
            std::move(RoundToNearest({rest}, *options_.sweep.scheme, options_.observer, nullptr).front());
        result.weight = std::move(rounded.weight);
        result.quantized = std::move(rounded.quantized);
      }
      const at::Tensor weight = MaskedWeight(task);
      const at::Tensor change = at::sub(weight.to(at::kFloat), result.weight.to(at::kFloat));
      const std::vector<double> forms = tensor::QuadraticForms({change, weight}, moment);
      // What is not positive definite may have forms below zero.
      result.energy = std::max(0.0, forms[1]);
      result.relative_error = forms[1] > 0.0 ? std::max(0.0, forms[0] / forms[1]) : 0.0;
      result.warning = "pruned by Wanda's scores, and nothing made up for it: " + cause;
      results.push_back(std::move(result));
    }
    return results;
  }

  absl::StatusOr<std::vector<LinearResult>> Solve(const std::vector<LinearTask>& tasks, const at::Tensor& moment,
                                                  gptq::Factored& factored) const {
    std::vector<sparsegpt::SweepTask> sweeps;
    std::vector<at::Tensor> weights;
    for (const LinearTask& task : tasks) {
      weights.push_back(MaskedWeight(task));
      sparsegpt::SweepTask& sweep = sweeps.emplace_back();
      sweep.weight = weights.back();
      if (!factored.plan.dead.empty()) {
        const at::Tensor dead = at::tensor(factored.plan.dead, at::kLong).to(sweep.weight.device());
        sweep.weight = sweep.weight.index_fill(1, dead, 0.0);
      }
      if (task.pruned.defined()) sweep.before = task.pruned.contiguous();
      if (options_.sweep.scheme) sweep.grid = FitGrid(sweep.weight, *options_.sweep.scheme, options_.observer);
    }
    if (moment.is_cpu()) {
      sparsegpt::SweepOnCpu(options_.sweep, *factored.factor, sweeps);
    } else {
      sparsegpt::SweepOnDevice(options_.sweep, *factored.factor, sweeps);
    }
    factored.factor->lower.reset();
    // tr(W S W') / mean is in the units of the loss.
    const std::vector<double> forms = tensor::QuadraticForms(weights, moment);
    std::vector<LinearResult> results;
    for (size_t i = 0; i < tasks.size(); ++i) {
      sparsegpt::SweepTask& sweep = sweeps[i];
      LinearResult& result = results.emplace_back();
      result.method = "sparsegpt";
      result.weight = std::move(sweep.values);
      result.pruned = std::move(sweep.pruned);
      if (options_.sweep.scheme) {
        result.quantized = QuantizedWeight{*options_.sweep.scheme, std::move(sweep.codes), std::move(sweep.grid.scales),
                                           std::move(sweep.grid.zero_points)};
        result.weight = Dequantize(*result.quantized);
      }
      result.damping = factored.factor->damping;
      const double error = std::max(0.0, sweep.loss - result.damping * sweep.shift) * factored.plan.mean;
      result.energy = std::max(0.0, forms[i]);
      result.relative_error = forms[i] > 0.0 && std::isfinite(error / forms[i]) ? error / forms[i] : 0.0;
      result.warning = gptq::DampingWarning(options_.damping, result.damping);
    }
    return results;
  }

  const Options options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeSparseGpt(const v1::Step& step) {
  const v1::SparseGpt& given = step.sparsegpt();
  Options options;
  CALIPRESS_ASSIGN_OR_RETURN(options.sweep.amount, prune::MakeAmount("sparsegpt", given.sparsity(), given.pattern()));
  options.sweep.block_size = given.block_size();
  options.damping = given.damping();
  options.fail = given.on_numeric_failure() == v1::ON_NUMERIC_FAILURE_FAIL;
  if (given.has_quantize()) {
    CALIPRESS_ASSIGN_OR_RETURN(options.sweep.scheme, MakeScheme(step));
    options.observer = ObserverOf(given.quantize().observer());
  }
  if (!std::isfinite(options.damping) || options.damping <= 0.0) {
    return UserError(reason::kInvalidRecipe,
                     "sparsegpt.damping is " + std::to_string(options.damping) + "; give a number above 0, as 0.01");
  }
  if (given.block_size() < 8 || given.block_size() % 8 != 0) {
    return UserError(reason::kInvalidRecipe, "sparsegpt.block_size is " + std::to_string(given.block_size()) +
                                                 "; give a positive multiple of 8, as 128");
  }
  return std::make_unique<SparseGpt>(options);
}

}  // namespace calipress::method
