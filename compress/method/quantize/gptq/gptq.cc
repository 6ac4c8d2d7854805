#include "compress/method/quantize/gptq/gptq.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include <ATen/ops/tensor.h>

#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/gptq/moment.h"
#include "compress/method/quantize/gptq/sweep.h"
#include "compress/method/quantize/grid.h"
#include "compress/method/quantize/masked_weight.h"
#include "compress/method/quantize/rtn/rtn.h"
#include "compress/method/quantize/scheme.h"
#include "compress/tensor/quadratic_form.h"

namespace calipress::method {
namespace {

struct Options {
  checkpoint::QuantizationScheme scheme;
  bool act_order = true;
  double damping = 0.01;
  int64_t block_size = 128;
  bool fail = false;  // rather than fall back to RTN
};

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Gptq : public Method {
 public:
  explicit Gptq(const Options& options) : options_(options) {}

  StatisticsNeeds needs() const override { return {.second_moment = true}; }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics* statistics) const override {
    if (tasks.empty()) return std::vector<LinearResult>();
    for (const LinearTask& task : tasks) {
      CALIPRESS_RETURN_IF_ERROR(CheckWeight(task.module, task.weight, options_.scheme));
    }
    CALIPRESS_RETURN_IF_ERROR(gptq::CheckSecondMoment("GPTQ", tasks, statistics));
    const auto start = std::chrono::steady_clock::now();
    gptq::Factored factored = gptq::FactorOf(statistics->second_moment, options_.act_order, options_.damping);
    if (!factored.factor) return OnFailure(tasks, *statistics, factored.cause);
    return Solve(tasks, *statistics, factored.plan, *std::move(factored.factor), start);
  }

 private:
  absl::StatusOr<std::vector<LinearResult>> OnFailure(const std::vector<LinearTask>& tasks,
                                                      const InputStatistics& statistics,
                                                      const std::string& cause) const {
    if (options_.fail) return gptq::NotPositiveDefinite(tasks, cause);
    LogWarning("gptq falls back to round-to-nearest", {{"module", gptq::NamesOf(tasks)}, {"cause", cause}});
    std::vector<LinearResult> results = RoundToNearest(tasks, options_.scheme, &statistics);
    for (LinearResult& result : results) {
      result.method = "rtn (fallback)";
      result.warning = "rounded to nearest: " + cause;
    }
    return results;
  }

  std::vector<LinearResult> Solve(const std::vector<LinearTask>& tasks, const InputStatistics& statistics,
                                  const gptq::ColumnPlan& plan, gptq::Factor factor,
                                  std::chrono::steady_clock::time_point start) const {
    std::vector<gptq::SweepTask> sweeps;
    std::vector<at::Tensor> weights;
    int64_t rows = 0;
    for (const LinearTask& task : tasks) {
      weights.push_back(MaskedWeight(task));
      gptq::SweepTask& sweep = sweeps.emplace_back();
      sweep.weight = weights.back();
      if (!plan.dead.empty()) {
        const at::Tensor dead = at::tensor(plan.dead, at::kLong).to(sweep.weight.device());
        sweep.weight = sweep.weight.index_fill(1, dead, 0.0);
      }
      if (task.pruned.defined()) sweep.pruned = task.pruned.contiguous();
      sweep.grid = FitMinMaxGrid(sweep.weight, options_.scheme);
      rows += task.weight.size(0);
    }
    const auto sweep_columns =
        statistics.second_moment.is_cpu()
            ? static_cast<void (*)(const checkpoint::QuantizationScheme&, const gptq::ColumnPlan&, const gptq::Factor&,
                                   int64_t, std::vector<gptq::SweepTask>&)>(gptq::SweepOnCpu)
            : gptq::SweepOnDevice;
    sweep_columns(options_.scheme, plan, factor, options_.block_size, sweeps);
    factor.lower.reset();
    // tr(W S W') / mean is in the units of the loss.
    const std::vector<double> forms = tensor::QuadraticForms(weights, statistics.second_moment);
    std::vector<LinearResult> results;
    for (size_t i = 0; i < tasks.size(); ++i) {
      gptq::SweepTask& sweep = sweeps[i];
      LinearResult& result = results.emplace_back();
      result.method = "gptq";
      result.quantized = QuantizedWeight{options_.scheme, std::move(sweep.codes), std::move(sweep.grid.scales),
                                         std::move(sweep.grid.zero_points)};
      result.weight = Dequantize(*result.quantized);
      const double error = std::max(0.0, sweep.loss - factor.damping * sweep.shift) * plan.mean;
      result.relative_error = forms[i] > 0.0 ? error / forms[i] : 0.0;
      result.damping = factor.damping;
      result.dead_columns = static_cast<int64_t>(plan.dead.size());
      result.warning = gptq::DampingWarning(options_.damping, factor.damping);
    }
    const double seconds = SecondsSince(start);
    for (size_t i = 0; i < tasks.size(); ++i) {
      results[i].seconds = seconds * static_cast<double>(tasks[i].weight.size(0)) / static_cast<double>(rows);
    }
    return results;
  }

  const Options options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeGptq(const v1::Step& step) {
  const v1::Gptq& gptq = step.gptq();
  Options options;
  CALIPRESS_ASSIGN_OR_RETURN(options.scheme, MakeScheme("gptq", gptq.bits(), gptq.group_size(), gptq.symmetric()));
  options.act_order = gptq.act_order();
  options.damping = gptq.damping();
  options.block_size = gptq.block_size();
  options.fail = gptq.on_numeric_failure() == v1::ON_NUMERIC_FAILURE_FAIL;
  if (!std::isfinite(options.damping) || options.damping <= 0.0) {
    return UserError(reason::kInvalidRecipe,
                     "gptq.damping is " + std::to_string(options.damping) + "; give a number above 0, as 0.01");
  }
  if (options.block_size < 1) {
    return UserError(reason::kInvalidRecipe,
                     "gptq.block_size is " + std::to_string(options.block_size) + "; give a positive number, as 128");
  }
  return std::make_unique<Gptq>(options);
}

}  // namespace calipress::method
