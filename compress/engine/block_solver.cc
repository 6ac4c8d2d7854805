#include "compress/engine/block_solver.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include "absl/strings/str_join.h"
#include "compress/base/error.h"
#include "compress/base/freed_memory.h"
#include "compress/base/log.h"
#include "compress/base/metrics.h"
#include "compress/base/status_macros.h"
#include "compress/engine/block_transform.h"
#include "compress/engine/divided_solve.h"
#include "compress/engine/share_statistics.h"
#include "compress/engine/share_transform.h"
#include "compress/engine/stage_blocks.h"
#include "compress/recipe/recipe.h"
#include "compress/tensor/quadratic_form.h"

namespace calipress::engine {
namespace {

// Relative errors spread over decades.
prometheus::Histogram& RelativeErrorHistogram(const std::string& method) {
  static auto& family =
      HistogramFamily("calipress_layer_relative_error",
                      "tr(dW S dW') / tr(W S W') of compressed linears, |dW|^2 / |W|^2 without statistics.");
  return family.Add({{"method", method}},
                    prometheus::Histogram::BucketBoundaries{1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1});
}

void CountDampingRetries(const method::LinearResult& result, double asked) {
  static auto& counter = CounterFamily("calipress_hessian_damping_retries_total",
                                       "Linears whose Hessian needed more damping than the recipe asked for.")
                             .Add({});
  if (result.damping > asked * 1.5) counter.Increment();
}

double AskedDamping(const v1::Step& step) {
  if (step.has_gptq()) return step.gptq().damping();
  if (step.has_sparsegpt()) return step.sparsegpt().damping();
  if (step.has_spqr()) return step.spqr().damping();
  return 1.0;
}

}  // namespace

BlockSolver::BlockSolver(StageContext& context, const StepMethods& methods, model::Block& block,
                         const SharedTokens* tokens)
    : context_(context),
      methods_(methods),
      block_(block),
      tokens_(tokens),
      together_(context.replicas() && tokens != nullptr) {
  result_.index = block.index();
  const recipe::StepTable steps(context.recipe());
  if (context.recipe().output().imatrix()) {
    for (auto& needs : needs_) needs.square_sum = true;
  }
  for (auto& spec : arch::BlockLinears(context.spec(), block.index())) {
    auto& linear = linears_.emplace_back(Linear{std::move(spec), {}});
    linear.steps = steps.StepsFor(linear.spec.module);
    for (const int step : linear.steps) {
      if (const auto* method = methods.method(step, block.index())) needs_[linear.spec.input].Merge(method->needs());
      if (const auto* transform = methods.transform(step)) {
        needs_[linear.spec.input].Merge(transform->needs(linear.spec.input));
      }
    }
  }
  for (const auto& linear : linears_) features_[linear.spec.input] = linear.spec.in;
}

void BlockSolver::MakeAccumulator(int input) {
  accumulators_[input] = std::make_unique<DomainStatistics>(features_[input], needs_[input], tokens_->mixing,
                                                            tokens_->position(), context_.device);
}

void BlockSolver::AddStatistics(int input, const at::Tensor& activations) {
  if (!needs_[input].Any() || tokens_ == nullptr) return;
  TimedActivity timed(context_.activities, Activity::kStatistics);
  if (!accumulators_[input]) MakeAccumulator(input);
  accumulators_[input]->Add(activations);
}

void BlockSolver::Adopt(int input, std::vector<method::InputStatistics> domains) {
  adopted_[input] = std::move(domains);
}

absl::Status BlockSolver::TakeStatistics(int input) {
  if (!needs_[input].Any() || tokens_ == nullptr || std::exchange(taken_[input], true)) return absl::OkStatus();
  std::vector<method::InputStatistics> domains = std::move(adopted_[input]);
  if (domains.empty()) {
    // A replica may have no sequence at all.
    if (!accumulators_[input]) MakeAccumulator(input);
    domains = accumulators_[input]->Take();
    accumulators_[input].reset();
  }
  if (together_) {
    TimedActivity timed(context_.activities, Activity::kTransfer);
    for (method::InputStatistics& domain : domains) {
      CALIPRESS_RETURN_IF_ERROR(ShareStatistics(context_.environment.group, needs_[input], features_[input],
                                                HiddenOptions(context_), domain));
    }
  }
  statistics_[input] = Mix(std::move(domains), tokens_->mixing);
  return absl::OkStatus();
}

absl::Status BlockSolver::Transform() {
  if (!methods_.HasTransforms()) return absl::OkStatus();
  for (int input = 0; input < kInputs; ++input) CALIPRESS_RETURN_IF_ERROR(TakeStatistics(input));
  if (!together_) return TransformHere();
  // A search that decides by a hair's breadth has to decide alike everywhere: one rank searches for all.
  if (context_.leader()) CALIPRESS_RETURN_IF_ERROR(TransformHere());
  return ShareTransformed(context_, statistics_, block_, &result_.changed);
}

absl::Status BlockSolver::TransformHere() {
  TimedActivity timed(context_.activities, Activity::kSolve);
  std::vector<TransformStep> steps;
  for (int step = 0; step < methods_.count(); ++step) {
    if (methods_.transform(step) == nullptr) continue;
    TransformStep& entry = steps.emplace_back(TransformStep{methods_.transform(step), {}});
    for (const Linear& linear : linears_) {
      if (std::find(linear.steps.begin(), linear.steps.end(), step) != linear.steps.end()) {
        entry.roles.push_back(linear.spec.role);
      }
    }
  }
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<std::string> warnings,
                             TransformBlock(context_.spec(), steps, statistics_, block_, &result_.changed));
  for (const std::string& warning : warnings) {
    LogWarning(warning, {{"block", std::to_string(block_.index())}});
    context_.outcome.add_warnings(warning);
  }
  return absl::OkStatus();
}

absl::Status BlockSolver::RunStep(int step, int input, std::vector<Work>& works) {
  const method::Method* method = methods_.method(step, block_.index());
  if (method == nullptr) return absl::OkStatus();
  // Linears of one step go together: one factorization serves them all.
  std::vector<method::LinearTask> tasks;
  std::vector<Work*> owners;
  for (Work& work : works) {
    const auto& steps = work.linear->steps;
    if (std::find(steps.begin(), steps.end(), step) == steps.end()) continue;
    tasks.push_back(work.task);
    owners.push_back(&work);
  }
  if (tasks.empty()) return absl::OkStatus();
  const bool wants = method->needs().Any();
  const method::InputStatistics* statistics = wants ? &statistics_[input] : nullptr;
  CALIPRESS_ASSIGN_OR_RETURN(auto results, together_
                                               ? CompressDivided(*method, tasks, statistics, context_.environment.group)
                                               : method->Compress(tasks, statistics));
  for (size_t i = 0; i < results.size(); ++i) {
    Work& work = *owners[i];
    method::LinearResult& result = results[i];
    work.methods.push_back(result.method);
    // Replicas have all results each, and one tells of them.
    const bool tells = context_.Writes(block_.index());
    if (!result.warning.empty() && tells) {
      LogWarning(result.warning, {{"module", work.task.module}});
      context_.outcome.add_warnings(work.task.module + ": " + result.warning);
    }
    if (wants && tells) CountDampingRetries(result, AskedDamping(context_.recipe().steps(step)));
    work.task.weight = result.weight;
    if (!result.pruned.defined()) result.pruned = work.task.pruned;
    work.task.pruned = result.pruned;
    result.seconds += work.result.seconds;
    result.dead_columns = std::max(result.dead_columns, work.result.dead_columns);
    if (!work.result.warning.empty()) {
      result.warning = work.result.warning + (result.warning.empty() ? "" : "; " + result.warning);
    }
    work.result = std::move(result);
  }
  return absl::OkStatus();
}

void BlockSolver::Finish(int input, Work& work) {
  if (work.methods.empty()) return;
  method::LinearResult& result = work.result;
  result.method = absl::StrJoin(work.methods, " + ");
  const at::Tensor& moment = statistics_[input].second_moment;
  if (work.methods.size() > 1 && moment.defined()) {
    // Of all steps together, against what they started from.
    const at::Tensor change = at::sub(work.original.to(at::kFloat), result.weight.to(at::kFloat));
    const auto forms = tensor::QuadraticForms({change, work.original.contiguous()}, moment);
    result.relative_error = forms[1] > 0.0 ? forms[0] / forms[1] : 0.0;
  } else if (work.methods.size() > 1 && statistics_[input].square_sum.defined()) {
    // Wanda and round to nearest want no second moments: the diagonal's part, as Wanda alone tells.
    const at::Tensor original = work.original.to(at::kFloat), squares = statistics_[input].square_sum;
    const at::Tensor change = at::sub(original, result.weight.to(at::kFloat));
    const double lost = change.square().mul(squares).sum(at::kDouble).item<double>();
    const double total = original.square().mul(squares).sum(at::kDouble).item<double>();
    result.relative_error = total > 0.0 ? lost / total : 0.0;
  } else if (work.methods.size() > 1) {
    result.relative_error = tensor::RelativeChange(work.original, result.weight).ratio;
  }
  if (result.relative_error > 0.0 && context_.Writes(block_.index()))
    RelativeErrorHistogram(result.method).Observe(result.relative_error);
  block_.ReplaceWeight(work.linear->spec.role, result.weight);
  // The weight lives in the block from here on; codes are written, or dequantized again.
  if (result.quantized || result.spqr) result.weight = at::Tensor();
  result_.linears.emplace_back(work.task.module, std::move(result));
}

absl::Status BlockSolver::KeepSquareSum(int input) {
  if (!context_.recipe().output().imatrix()) return absl::OkStatus();
  CALIPRESS_RETURN_IF_ERROR(TakeStatistics(input));
  result_.square_sums[input] = statistics_[input].square_sum;
  if (at::isfinite(result_.square_sums[input]).all().item<bool>()) return absl::OkStatus();
  return PreconditionError(reason::kNonFiniteActivations,
                           "input " + std::to_string(input) + " of block " + std::to_string(block_.index()) +
                               " holds NaN or Inf (or overflows fp32 when squared); the model breaks on the " +
                               "calibration data: check it on the same text first");
}

absl::Status BlockSolver::Solve(int input) {
  CALIPRESS_RETURN_IF_ERROR(KeepSquareSum(input));
  std::vector<Work> works;
  for (const Linear& linear : linears_) {
    if (linear.spec.input != input || linear.steps.empty()) continue;
    Work& work = works.emplace_back(Work{&linear, block_.weight(linear.spec.role), {}, {}, {}});
    work.task = {linear.spec.module, work.original, {}, block_.index(), std::string(arch::RoleName(linear.spec.role))};
  }
  if (works.empty()) return absl::OkStatus();
  CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
  CALIPRESS_RETURN_IF_ERROR(TakeStatistics(input));
  TimedActivity timed(context_.activities, Activity::kSolve);
  ReturnFreedMemory();  // of the forward
  // Two rounds: what prunes goes before what quantizes, wherever the recipe has it.
  for (const bool prunes : {true, false}) {
    for (int step = 0; step < methods_.count(); ++step) {
      if (recipe::Prunes(context_.recipe().steps(step)) != prunes) continue;
      CALIPRESS_RETURN_IF_ERROR(RunStep(step, input, works));
    }
  }
  for (Work& work : works) Finish(input, work);
  statistics_[input] = {};
  works.clear();
  ReturnFreedMemory();  // of the solve
  return absl::OkStatus();
}

}  // namespace calipress::engine
