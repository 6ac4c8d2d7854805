// What every method keeps, whatever the weights, the shape and the data: properties over random problems (rapidcheck;
// RC_PARAMS="seed=..." and "max_success=..." run others).
#include <cstdlib>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "compress/arch/arch.h"
#include "compress/recipe/recipe.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

// The same problems in every run, unless somebody asks for others.
const int kParameters = setenv("RC_PARAMS", "seed=20261127 max_success=40", /*replace=*/0);

// Steps as a recipe has them, and what must hold of each.
struct Subject {
  const char* yaml;
  bool exact_error = false;  // relative_error is the exact quadratic form
  double sparsity = -1.0;    // per weight matrix, to one weight per row or panel; below 0: not one of these
};

const std::vector<Subject>& Subjects() {
  static const auto& subjects = *new std::vector<Subject>{
      {"rtn: {bits: 4, group_size: 16}"},
      {"rtn: {bits: 3, group_size: -1, symmetric: false}"},
      {"gptq: {bits: 4, group_size: 16}", true},
      {"gptq: {bits: 2, group_size: -1, symmetric: false, act_order: false}", true},
      {"gptq: {bits: 8, group_size: 8, damping: 0.1, block_size: 16}", true},
      {"spqr: {bits: 3, group_size: 16, scale_group_size: 4}", true},
      {"spqr: {bits: 4, group_size: 8, outlier_threshold: 0.05, act_order: false}", true},
      {"magnitude: {sparsity: 0.3}", false, 0.3},
      {"magnitude: {pattern: \"4:8\"}", false, 0.5},
      {"wanda: {sparsity: 0.5}", false, 0.5},
      {"wanda: {pattern: \"2:4\"}", false, 0.5},
      {"wanda: {variant: true}"},
      {"sparsegpt: {sparsity: 0.5, block_size: 32}", true, 0.5},
      {"sparsegpt: {pattern: \"2:4\"}", true, 0.5},
      {"sparsegpt: {sparsity: 0.3, block_size: 16, quantize: {bits: 4, group_size: 16}}", true, 0.3},
      {"dsnot: {sparsity: 0.6, layers: all, threshold: 0.01}", true, 0.6},
      {"dsnot: {pattern: '2:4', initial: magnitude, threshold: 0.001}", true, 0.5},
      {"dsnot: {sparsity: 0.5, initial: sparsegpt, same_sign: true}", true, 0.5},
  };
  return subjects;
}

v1::Step ResolvedStep(const char* yaml) {
  auto recipe = recipe::ParseYaml(std::string("steps:\n  - ") + yaml + "\n");
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe::Resolve(*recipe, arch::ArchSpec()).steps(0);
}

struct Problem {
  const Subject* subject;
  int64_t rows, columns, tokens;
  at::ScalarType dtype;
  uint64_t seed;
  int64_t dead_columns, zero_rows, constant_rows;

  at::Tensor Weight() const {
    at::Tensor weight = RandomWeight(rows, columns, dtype, seed);
    weight.narrow(0, 0, std::min(zero_rows, rows)).zero_();
    const int64_t first = std::max<int64_t>(0, rows - constant_rows);
    weight.narrow(0, first, rows - first).fill_(0.0371);
    return weight;
  }

  InputStatistics Statistics() const {
    at::Tensor inputs = CorrelatedInputs(tokens, columns, seed + 1);
    for (int64_t i = 0; i < dead_columns; ++i) inputs.select(1, (7 * i + 3) % columns).zero_();
    InputStatistics statistics = StatisticsOf(inputs);
    statistics.absolute_sum = inputs.abs().sum(0);
    statistics.absolute_max = std::get<0>(inputs.abs().max(0));
    statistics.sum = inputs.sum(0);
    // Two sequences of the same length.
    const at::Tensor halves = inputs.view({2, tokens / 2, columns});
    statistics.variance_sum = halves.var(1).sum(0).mul(static_cast<double>(tokens) / 2.0);
    statistics.sequences = 2;
    return statistics;
  }
};

std::ostream& operator<<(std::ostream& out, const Problem& problem) {
  return out << problem.subject->yaml << " on [" << problem.rows << ", " << problem.columns << "] "
             << c10::toString(problem.dtype) << ", " << problem.tokens << " tokens, seed " << problem.seed << ", "
             << problem.dead_columns << " dead columns, " << problem.zero_rows << " zero rows, "
             << problem.constant_rows << " constant rows";
}

rc::Gen<Problem> Problems(std::vector<const Subject*> subjects) {
  return rc::gen::exec([subjects]() {
    Problem problem;
    problem.subject = *rc::gen::elementOf(subjects);
    problem.rows = *rc::gen::inRange<int64_t>(1, 70);
    problem.columns = 16 * *rc::gen::inRange<int64_t>(1, 14);
    problem.tokens = 2 * *rc::gen::inRange<int64_t>(2, 200);
    problem.dtype = *rc::gen::element(at::kFloat, at::kBFloat16, at::kHalf);
    problem.seed = *rc::gen::inRange<uint64_t>(0, 1 << 20);
    problem.dead_columns = *rc::gen::weightedElement<int64_t>({{3, 0}, {1, 1}, {1, 5}});
    problem.zero_rows = *rc::gen::weightedElement<int64_t>({{3, 0}, {1, 1}, {1, 3}});
    problem.constant_rows = *rc::gen::weightedElement<int64_t>({{3, 0}, {1, 2}});
    return problem;
  });
}

rc::Gen<Problem> AnyProblem() {
  std::vector<const Subject*> all;
  for (const Subject& subject : Subjects()) all.push_back(&subject);
  return Problems(all);
}

std::vector<LinearResult> Solve(const Problem& problem, const std::vector<LinearTask>& tasks) {
  auto method = MakeMethod(ResolvedStep(problem.subject->yaml));
  RC_ASSERT(method.ok());
  const InputStatistics statistics = problem.Statistics();
  auto results = (*method)->Compress(tasks, (*method)->needs().Any() ? &statistics : nullptr);
  if (!results.ok()) RC_FAIL(results.status().ToString());
  RC_ASSERT(results->size() == tasks.size());
  return *std::move(results);
}

LinearTask TaskOf(const Problem& problem) {
  return {"model.layers.0.self_attn.q_proj", problem.Weight(), {}, 0, "q_proj"};
}

LinearResult SolveOne(const Problem& problem) { return Solve(problem, {TaskOf(problem)}).front(); }

bool SameBytes(const at::Tensor& a, const at::Tensor& b) {
  if (a.defined() != b.defined()) return false;
  return !a.defined() || (a.scalar_type() == b.scalar_type() && at::equal(a, b));
}

bool Same(const LinearResult& a, const LinearResult& b) {
  return SameBytes(a.weight, b.weight) && SameBytes(a.pruned, b.pruned) && a.relative_error == b.relative_error &&
         a.quantized.has_value() == b.quantized.has_value() &&
         (!a.quantized ||
          (SameBytes(a.quantized->codes, b.quantized->codes) && SameBytes(a.quantized->scales, b.quantized->scales) &&
           SameBytes(a.quantized->zero_points, b.quantized->zero_points)));
}

RC_GTEST_PROP(EveryMethod, GivesAFiniteWeightOfTheSameShapeThatIsWhatALoaderMakes, ()) {
  const Problem problem = *AnyProblem();
  const LinearResult result = SolveOne(problem);
  RC_ASSERT(result.weight.scalar_type() == problem.dtype);
  RC_ASSERT(result.weight.sizes() == at::IntArrayRef({problem.rows, problem.columns}));
  RC_ASSERT(at::isfinite(result.weight.to(at::kFloat)).all().item<bool>());
  if (result.quantized) RC_ASSERT(at::equal(result.weight, Dequantize(*result.quantized)));
  if (result.spqr) RC_ASSERT(at::equal(result.weight, DequantizeSpqr(*result.spqr)));
  if (result.pruned.defined())
    RC_ASSERT(result.weight.masked_select(result.pruned).count_nonzero().item<int64_t>() == 0);
  RC_ASSERT(!result.method.empty());
}

RC_GTEST_PROP(EveryMethod, GivesTheSameBytesAgainAndLeavesItsTaskAlone, ()) {
  const Problem problem = *AnyProblem();
  const LinearTask task = TaskOf(problem);
  const LinearResult first = Solve(problem, {task}).front();
  RC_ASSERT(at::equal(task.weight, problem.Weight()));
  RC_ASSERT(Same(first, Solve(problem, {task}).front()));
}

RC_GTEST_PROP(EveryMethod, GivesALinearTheSameBesideAnother, ()) {
  const Problem problem = *AnyProblem();
  LinearTask other = TaskOf(problem);
  other.module = "model.layers.0.self_attn.k_proj";
  other.role = "k_proj";
  other.weight = RandomWeight(problem.rows + 3, problem.columns, problem.dtype, problem.seed + 9);
  RC_ASSERT(Same(Solve(problem, {other, TaskOf(problem)}).back(), SolveOne(problem)));
}

RC_GTEST_PROP(EveryMethod, DoesNotDependOnThreadsBeyondNoise, ()) {
  const Problem problem = *AnyProblem();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const LinearResult one = SolveOne(problem);
  at::set_num_threads(3);
  const LinearResult three = SolveOne(problem);
  at::set_num_threads(threads);
  // Scales of fp32 weights differ in the last bits, and a code at the middle between two may fall to either side.
  const at::Tensor close = at::isclose(one.weight.to(at::kFloat), three.weight.to(at::kFloat), 1e-3, 1e-7);
  RC_ASSERT(close.to(at::kFloat).mean().item<double>() > 0.9);
  RC_ASSERT(std::abs(one.relative_error - three.relative_error) <= 0.02 * one.relative_error + 1e-7);
}

RC_GTEST_PROP(ExactMethods, TellTheQuadraticFormOfTheirError, ()) {
  std::vector<const Subject*> exact;
  for (const Subject& subject : Subjects()) {
    if (subject.exact_error) exact.push_back(&subject);
  }
  Problem problem = *Problems(exact);
  const LinearResult result = SolveOne(problem);
  const at::Tensor moment = problem.Statistics().second_moment, weight = problem.Weight();
  const double all = Form(weight, moment);
  if (all == 0.0) return;
  const double form = Form(weight.to(at::kDouble).sub(result.weight.to(at::kDouble)), moment) / all;
  // The sums of the sweep are fp32 and hold the damping's share, which is taken away again.
  RC_ASSERT(std::abs(result.relative_error - form) <= 0.01 * form + 1e-5);
}

RC_GTEST_PROP(Pruners, RemoveTheShareThatWasAsked, ()) {
  std::vector<const Subject*> pruners;
  for (const Subject& subject : Subjects()) {
    if (subject.sparsity >= 0.0) pruners.push_back(&subject);
  }
  if (pruners.empty()) return;
  Problem problem = *Problems(pruners);
  const LinearResult result = SolveOne(problem);
  RC_ASSERT(result.pruned.defined());
  const double share = result.pruned.to(at::kFloat).mean().item<double>();
  // Counts are rounded down, per row or per panel of at least 16 columns.
  RC_ASSERT(share <= problem.subject->sparsity + 1e-6);
  RC_ASSERT(share > problem.subject->sparsity - 1.0 / 16.0);
}

}  // namespace
}  // namespace calipress::method
