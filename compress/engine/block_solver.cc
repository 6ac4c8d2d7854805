#include "compress/engine/block_solver.h"

#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/metrics.h"
#include "compress/base/status_macros.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

// Relative errors spread over decades.
prometheus::Histogram& RelativeErrorHistogram(const std::string& method) {
  static auto& family =
      HistogramFamily("calipress_layer_relative_error", "tr(dW S dW') / tr(W S W') of compressed linears.");
  return family.Add({{"method", method}},
                    prometheus::Histogram::BucketBoundaries{1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1});
}

void CountDampingRetries(const method::LinearResult& result, double asked) {
  static auto& counter = CounterFamily("calipress_hessian_damping_retries_total",
                                       "Linears whose Hessian needed more damping than the recipe asked for.")
                             .Add({});
  if (result.damping > asked * 1.5) counter.Increment();
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<method::Method>>> BlockSolver::MakeMethods(const v1::Recipe& recipe) {
  std::vector<std::unique_ptr<method::Method>> methods;
  for (const auto& step : recipe.steps()) {
    CALIPRESS_ASSIGN_OR_RETURN(methods.emplace_back(), method::MakeMethod(step));
  }
  return methods;
}

BlockSolver::BlockSolver(StageContext& context, const std::vector<std::unique_ptr<method::Method>>& methods,
                         model::Block& block)
    : context_(context), methods_(methods), block_(block), linears_(arch::BlockLinears(context.spec(), block.index())) {
  result_.index = block.index();
  for (const auto& linear : linears_) {
    const int step = recipe::StepFor(context.recipe(), linear.module);
    steps_.push_back(step);
    if (step < 0) continue;
    work_[linear.input] = true;
    if (methods[step]->statistics() == method::StatisticsKind::kNone || needs_[linear.input]) continue;
    needs_[linear.input] = true;
    moments_[linear.input] = std::make_unique<tensor::SecondMoment>(linear.in, context.device);
  }
}

void BlockSolver::AddStatistics(int input, const at::Tensor& activations) {
  if (!needs_[input]) return;
  TimedActivity timed(context_.activities, Activity::kStatistics);
  moments_[input]->Add(activations.reshape({-1, activations.size(-1)}));
}

absl::Status BlockSolver::Solve(int input) {
  if (!work_[input]) return absl::OkStatus();
  CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
  TimedActivity timed(context_.activities, Activity::kSolve);
  method::InputStatistics statistics;
  if (needs_[input]) {
    statistics.second_moment = moments_[input]->Full();
    statistics.tokens = moments_[input]->tokens();
  }
  // Linears of one step go together: one factorization serves them all.
  for (size_t step = 0; step < methods_.size(); ++step) {
    std::vector<method::LinearTask> tasks;
    std::vector<arch::Role> roles;
    for (size_t i = 0; i < linears_.size(); ++i) {
      if (linears_[i].input != input || steps_[i] != static_cast<int>(step)) continue;
      tasks.push_back({linears_[i].module, block_.weight(linears_[i].role)});
      roles.push_back(linears_[i].role);
    }
    if (tasks.empty()) continue;
    const bool wants = methods_[step]->statistics() != method::StatisticsKind::kNone;
    CALIPRESS_ASSIGN_OR_RETURN(auto results, methods_[step]->Compress(tasks, wants ? &statistics : nullptr));
    for (size_t i = 0; i < results.size(); ++i) {
      block_.ReplaceWeight(roles[i], results[i].weight);
      if (!results[i].warning.empty()) {
        LogWarning(results[i].warning, {{"module", tasks[i].module}});
        context_.outcome.add_warnings(results[i].warning);
      }
      const auto& options = context_.recipe().steps(static_cast<int>(step));
      if (wants) {
        RelativeErrorHistogram(recipe::MethodName(options)).Observe(results[i].relative_error);
        CountDampingRetries(results[i], options.gptq().damping());
      }
      // The weight lives in the block from here on; what is written is the codes.
      if (results[i].quantized) results[i].weight = at::Tensor();
      result_.linears.emplace_back(tasks[i].module, std::move(results[i]));
    }
  }
  moments_[input].reset();
  return absl::OkStatus();
}

}  // namespace calipress::engine
