// SparseGPT against a plain transcription in double, against what mathematics says, and on odd weights and inputs.
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/method/prune/mask.h"
#include "compress/method/prune/sparsegpt/sweep.h"
#include "compress/method/quantize/gptq/factor.h"
#include "compress/recipe/n_of_m.h"
#include "compress/tensor/cpu_features.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

v1::Step SparseGptStep(double sparsity, const std::string& pattern = "", int block_size = 128) {
  v1::Step step;
  v1::SparseGpt& options = *step.mutable_sparsegpt();
  options.set_sparsity(sparsity);
  options.set_pattern(pattern);
  options.set_block_size(block_size);
  options.set_damping(0.01);
  options.set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FALLBACK);
  return step;
}

v1::Step Quantizing(v1::Step step, int bits, int64_t group_size, bool symmetric) {
  v1::SweepQuantization& quantize = *step.mutable_sparsegpt()->mutable_quantize();
  quantize.set_bits(bits);
  quantize.set_group_size(group_size);
  quantize.set_symmetric(symmetric);
  return step;
}

v1::Step WandaStep(double sparsity, const std::string& pattern = "") {
  v1::Step step;
  step.mutable_wanda()->set_sparsity(sparsity);
  step.mutable_wanda()->set_pattern(pattern);
  return step;
}

v1::Step MagnitudeStep(double sparsity, const std::string& pattern = "") {
  v1::Step step;
  step.mutable_magnitude()->set_sparsity(sparsity);
  step.mutable_magnitude()->set_pattern(pattern);
  return step;
}

double RelativeForm(const at::Tensor& weight, const at::Tensor& result, const InputStatistics& statistics) {
  return Form(weight.to(at::kDouble).sub(result.to(at::kDouble)), statistics.second_moment) /
         Form(weight, statistics.second_moment);
}

// As in the paper's reference code, in double and column by column, but for the count: exactly as many as asked for.
struct Reference {
  at::Tensor values;  // double [out, in]
  at::Tensor pruned;  // bool
};

at::Tensor SmallestOfRow(const at::Tensor& scores, int64_t count) {
  const at::Tensor order = std::get<1>(scores.sort(/*stable=*/true, 1, /*descending=*/false));
  return at::zeros_like(scores, at::kBool).scatter_(1, order.narrow(1, 0, count), true);
}

Reference ReferenceSparseGpt(const at::Tensor& weight, const at::Tensor& second_moment,
                             const sparsegpt::SweepOptions& options, const Grid& grid) {
  const int64_t columns = weight.size(1), width = options.block_size;
  at::Tensor w = weight.to(at::kDouble).clone(), h = second_moment.to(at::kDouble).clone();
  const at::Tensor dead = h.diagonal().eq(0);
  const double mean = h.diagonal().masked_select(dead.logical_not()).mean().item<double>();
  w.masked_fill_(dead.unsqueeze(0), 0.0);
  h.diagonal().masked_fill_(dead, mean).add_(0.01 * mean);
  const at::Tensor u = at::linalg_cholesky(at::linalg_inv(h)).t();
  Reference result{at::empty_like(w), at::zeros_like(w, at::kBool)};
  for (int64_t first = 0; first < columns; first += width) {
    const int64_t count = std::min(width, columns - first);
    const auto scores = [&](int64_t from, int64_t size) {
      return w.narrow(1, from, size).div(u.diagonal().narrow(0, from, size)).square();
    };
    if (!options.amount.pattern) {
      const at::Tensor all = scores(first, count);
      const int64_t gone = static_cast<int64_t>(static_cast<double>(all.numel()) * options.amount.sparsity);
      result.pruned.narrow(1, first, count).copy_(SmallestOfRow(all.reshape({1, -1}), gone).view_as(all));
    }
    for (int64_t i = first; i < first + count; ++i) {
      if (options.amount.pattern && i % options.amount.pattern->of == 0) {
        const int64_t of = options.amount.pattern->of;
        result.pruned.narrow(1, i, of).copy_(SmallestOfRow(scores(i, of), options.amount.pattern->zeros));
      }
      at::Tensor value = w.select(1, i).clone();
      if (options.scheme) {
        const int64_t group = i / (columns / grid.scales.size(1));
        const at::Tensor scale = grid.scales.select(1, group);
        const at::Tensor zero = grid.zero_points.defined() ? grid.zero_points.select(1, group).to(at::kDouble)
                                                           : at::zeros({w.size(0)}, at::kDouble);
        const double low = -std::ldexp(1.0, options.scheme->bits - 1);
        const at::Tensor code = at::round(value.div(scale.to(at::kDouble))).add_(zero).clamp_(low, -low - 1.0);
        value = code.sub(zero).to(scale.scalar_type()).mul(scale).to(at::kDouble);
      }
      value.masked_fill_(result.pruned.select(1, i), 0.0);
      const at::Tensor error = w.select(1, i).sub(value).div_(u[i][i]);
      w.narrow(1, i, columns - i).sub_(at::outer(error, u[i].narrow(0, i, columns - i)));
      result.values.select(1, i).copy_(value);
    }
  }
  return result;
}

struct Problem {
  at::Tensor weight;
  InputStatistics statistics;
  sparsegpt::SweepOptions options;
  gptq::ColumnPlan plan;
  gptq::Factor factor;
};

Problem MakeProblem(int64_t rows, int64_t columns, at::ScalarType dtype, const std::string& pattern, double sparsity,
                    int64_t block_size, uint64_t seed) {
  Problem problem{RandomWeight(rows, columns, dtype, seed),
                  StatisticsOf(CorrelatedInputs(3 * columns, columns, seed + 50)),
                  {{sparsity, recipe::ParseNOfM(pattern)}, block_size, std::nullopt},
                  {},
                  {}};
  problem.plan = gptq::PlanColumns(problem.statistics.second_moment, false);
  problem.factor = *gptq::Factorize(problem.statistics.second_moment, problem.plan, 0.01);
  return problem;
}

sparsegpt::SweepTask TaskOf(const Problem& problem) {
  sparsegpt::SweepTask task;
  task.weight = problem.weight;
  if (problem.options.scheme) task.grid = FitMinMaxGrid(problem.weight, *problem.options.scheme);
  return task;
}

// Null: SweepOnDevice, which is right on the CPU too.
std::vector<const gptq::SweepKernel*> Kernels() {
  std::vector<const gptq::SweepKernel*> kernels = {nullptr, &gptq::kSweepPortable};
  if (tensor::CpuHasAvx2()) kernels.push_back(&gptq::kSweepAvx2);
  if (tensor::CpuHasAvx512()) kernels.push_back(&gptq::kSweepAvx512);
  return kernels;
}

sparsegpt::SweepTask Swept(const Problem& problem, const gptq::SweepKernel* kernel) {
  std::vector<sparsegpt::SweepTask> tasks = {TaskOf(problem)};
  if (kernel == nullptr) {
    sparsegpt::SweepOnDevice(problem.options, problem.factor, tasks);
  } else {
    sparsegpt::SweepOnCpu(problem.options, problem.factor, *kernel, tasks);
  }
  return tasks[0];
}

at::Tensor ValuesOf(const Problem& problem, const sparsegpt::SweepTask& task) {
  if (!problem.options.scheme) return task.values;
  return Dequantize({*problem.options.scheme, task.codes, task.grid.scales, task.grid.zero_points});
}

struct Case {
  int64_t rows, columns;
  const char* pattern;
  double sparsity;
  int64_t block_size;
};

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {40, 96, "", 0.5, 32},    {33, 200, "", 0.3, 64},    {7, 50, "", 0.8, 16},      {70, 133, "", 0.5, 128},
      {1, 16, "", 0.5, 16},     {40, 96, "2:4", 0.5, 32},  {37, 120, "4:8", 0.5, 48}, {20, 84, "1:3", 0.5, 16},
      {20, 84, "3:7", 0.5, 16}, {9, 96, "12:32", 0.5, 16}, {33, 60, "5:6", 0.5, 128}, {64, 100, "1:2", 0.5, 40}};
  return cases;
}

std::string NameOf(const Case& one, const gptq::SweepKernel* kernel) {
  return std::to_string(one.rows) + "x" + std::to_string(one.columns) + " " + one.pattern + " " +
         (kernel == nullptr ? "device" : kernel->name);
}

TEST(SparseGptSweep, FollowsTheTranscription) {
  for (const Case& one : Cases()) {
    const Problem problem =
        MakeProblem(one.rows, one.columns, at::kFloat, one.pattern, one.sparsity, one.block_size, 3);
    const Reference reference =
        ReferenceSparseGpt(problem.weight, problem.statistics.second_moment, problem.options, {});
    for (const gptq::SweepKernel* kernel : Kernels()) {
      const sparsegpt::SweepTask task = Swept(problem, kernel);
      // Scores that are equal but for noise may fall to either side, and take the rest of their row along.
      EXPECT_GT(Agreement(task.pruned, reference.pruned), 0.99) << NameOf(one, kernel);
      const at::Tensor close = at::isclose(task.values.to(at::kDouble), reference.values, 1e-3, 1e-6);
      EXPECT_GT(close.to(at::kDouble).mean().item<double>(), 0.97) << NameOf(one, kernel);
      EXPECT_NEAR(RelativeForm(problem.weight, task.values, problem.statistics) /
                      RelativeForm(problem.weight, reference.values, problem.statistics),
                  1.0, 0.01)
          << NameOf(one, kernel);
    }
  }
}

TEST(SparseGptSweep, FollowsTheTranscriptionOnAGrid) {
  for (const Case& one : Cases()) {
    for (bool symmetric : {true, false}) {
      Problem problem = MakeProblem(one.rows, one.columns, at::kFloat, one.pattern, one.sparsity, one.block_size, 4);
      problem.options.scheme = checkpoint::QuantizationScheme{4, one.columns % 8 == 0 ? 8 : -1, symmetric};
      const Reference reference =
          ReferenceSparseGpt(problem.weight, problem.statistics.second_moment, problem.options, TaskOf(problem).grid);
      for (const gptq::SweepKernel* kernel : Kernels()) {
        const sparsegpt::SweepTask task = Swept(problem, kernel);
        // A code at the middle between two may fall to either side, and takes the rest of its row along.
        EXPECT_GT(Agreement(task.pruned, reference.pruned), 0.95) << NameOf(one, kernel);
        const at::Tensor values = ValuesOf(problem, task);
        EXPECT_EQ(values.masked_select(task.pruned).count_nonzero().item<int64_t>(), 0) << NameOf(one, kernel);
        EXPECT_NEAR(RelativeForm(problem.weight, values, problem.statistics) /
                        RelativeForm(problem.weight, reference.values, problem.statistics),
                    1.0, 0.05)
            << NameOf(one, kernel);
      }
    }
  }
}

// Oracle 2: sum e^2 = tr(dW H dW') with the damped H, in double and from the weight that is written.
TEST(SparseGptSweep, LossIsTheQuadraticFormOfTheError) {
  for (const Case& one : Cases()) {
    for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
      for (bool quantized : {false, true}) {
        Problem problem = MakeProblem(one.rows, one.columns, dtype, one.pattern, one.sparsity, one.block_size, 5);
        if (quantized) problem.options.scheme = checkpoint::QuantizationScheme{3, -1, false};
        for (const gptq::SweepKernel* kernel : Kernels()) {
          const sparsegpt::SweepTask task = Swept(problem, kernel);
          const at::Tensor error = problem.weight.to(at::kDouble).sub(ValuesOf(problem, task).to(at::kDouble));
          const double shift = error.square().sum().item<double>();
          const double form = Form(error, problem.statistics.second_moment) / problem.plan.mean;
          EXPECT_NEAR(task.shift / shift, 1.0, 1e-4) << NameOf(one, kernel);
          EXPECT_NEAR(task.loss / (form + 0.01 * shift), 1.0, 1e-3) << NameOf(one, kernel) << quantized << dtype;
        }
      }
    }
  }
}

TEST(SparseGptSweep, ThreadsAndOtherWeightsChangeNoBit) {
  for (const char* pattern : {"", "2:4"}) {
    const Problem problem = MakeProblem(300, 288, at::kBFloat16, pattern, 0.5, 64, 6);
    const sparsegpt::SweepTask first = Swept(problem, &gptq::BestSweepKernel());
    const int threads = at::get_num_threads();
    for (int count : {1, 2, 3}) {
      at::set_num_threads(count);
      std::vector<sparsegpt::SweepTask> tasks = {TaskOf(problem), TaskOf(problem)};
      tasks[0].weight = RandomWeight(77, 288, at::kBFloat16, 8);
      sparsegpt::SweepOnCpu(problem.options, problem.factor, tasks);
      EXPECT_TRUE(at::equal(tasks[1].values, first.values)) << count;
      EXPECT_TRUE(at::equal(tasks[1].pruned, first.pruned)) << count;
      EXPECT_EQ(tasks[1].loss, first.loss) << count;
    }
    at::set_num_threads(threads);
  }
}

TEST(SparseGpt, CountsAreExact) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, 160, 9));
  const at::Tensor weight = RandomWeight(30, 160, at::kBFloat16, 10);
  for (double sparsity : {0.0, 0.3, 0.5, 0.77}) {
    const LinearResult result = CompressOne(SparseGptStep(sparsity, "", 64), weight, &statistics);
    for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 64}, {64, 64}, {128, 32}}) {
      EXPECT_EQ(result.pruned.narrow(1, first, count).sum().item<int64_t>(),
                static_cast<int64_t>(static_cast<double>(30 * count) * sparsity));
    }
    EXPECT_EQ(result.weight.masked_select(result.pruned).count_nonzero().item<int64_t>(), 0);
    EXPECT_EQ(result.method, "sparsegpt");
  }
  for (const auto& [text, zeros, of] : std::vector<std::tuple<std::string, int, int>>{
           {"2:4", 2, 4}, {"5:8", 5, 8}, {"1:5", 1, 5}, {"8:16", 8, 16}, {"30:32", 30, 32}, {"80:160", 80, 160}}) {
    const LinearResult result = CompressOne(SparseGptStep(0.5, text), weight, &statistics);
    EXPECT_TRUE(result.pruned.view({30, 160 / of, of}).to(at::kLong).sum(2).eq(zeros).all().item<bool>()) << text;
  }
}

TEST(SparseGpt, EqualScoresGoInRowMajorOrder) {
  const InputStatistics statistics = WithMoment(at::eye(32).mul_(7.0), 100);
  const LinearResult result = CompressOne(SparseGptStep(0.25, "", 16), at::full({40, 32}, 0.25f), &statistics);
  for (int64_t first : {0, 16}) {
    EXPECT_TRUE(result.pruned.narrow(0, 0, 10).narrow(1, first, 16).all().item<bool>());
    EXPECT_FALSE(result.pruned.narrow(0, 10, 30).narrow(1, first, 16).any().item<bool>());
  }
}

TEST(SparseGpt, SparsityZeroLeavesTheWeight) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, 96, 11));
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const at::Tensor weight = RandomWeight(40, 96, dtype, 12);
    const LinearResult result = CompressOne(SparseGptStep(0.0, "", 32), weight, &statistics);
    EXPECT_TRUE(at::equal(result.weight, weight));
    EXPECT_FALSE(result.pruned.any().item<bool>());
    EXPECT_EQ(result.relative_error, 0.0);
  }
}

// Oracle 1.
TEST(SparseGpt, WithIndependentInputsIsMagnitudeOfPanelsAndRuns) {
  const InputStatistics statistics = WithMoment(at::eye(160).mul_(37.0), 1000);
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const at::Tensor weight = RandomWeight(50, 160, dtype, 13);
    const LinearResult panels = CompressOne(SparseGptStep(0.4, "", 64), weight, &statistics);
    for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 64}, {64, 64}, {128, 32}}) {
      const at::Tensor part = weight.narrow(1, first, count).contiguous();
      const LinearResult magnitude = CompressOne(MagnitudeStep(0.4), part, nullptr);
      EXPECT_TRUE(at::equal(panels.weight.narrow(1, first, count), magnitude.weight)) << first;
    }
    const LinearResult runs = CompressOne(SparseGptStep(0.5, "2:4"), weight, &statistics);
    EXPECT_TRUE(at::equal(runs.weight, CompressOne(MagnitudeStep(0.5, "2:4"), weight, nullptr).weight));
  }
}

TEST(SparseGpt, WithNothingToPruneAndAGridIsGptq) {
  // Without act-order, and to the bit.
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(600, 256, 14));
  for (bool symmetric : {true, false}) {
    const at::Tensor weight = RandomWeight(48, 256, at::kBFloat16, 15);
    v1::Step gptq = GptqStep(4, 64, symmetric);
    gptq.mutable_gptq()->set_act_order(false);
    const LinearResult expected = CompressOne(gptq, weight, &statistics);
    const LinearResult result = CompressOne(Quantizing(SparseGptStep(0.0), 4, 64, symmetric), weight, &statistics);
    EXPECT_TRUE(at::equal(result.quantized->codes, expected.quantized->codes));
    EXPECT_TRUE(at::equal(result.weight, expected.weight));
    EXPECT_EQ(result.relative_error, expected.relative_error);
  }
}

TEST(SparseGpt, BeatsWandaAndMagnitude) {
  double sparsegpt = 0.0, wanda = 0.0, magnitude = 0.0;
  for (const char* pattern : {"", "2:4"}) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const InputStatistics statistics = StatisticsOf(CorrelatedInputs(600, 256, seed));
      const at::Tensor weight = RandomWeight(64, 256, at::kBFloat16, seed + 100);
      sparsegpt += CompressOne(SparseGptStep(0.5, pattern), weight, &statistics).relative_error;
      wanda += RelativeForm(weight, CompressOne(WandaStep(0.5, pattern), weight, &statistics).weight, statistics);
      magnitude += RelativeForm(weight, CompressOne(MagnitudeStep(0.5, pattern), weight, nullptr).weight, statistics);
    }
  }
  EXPECT_LT(sparsegpt, 0.6 * wanda);
  EXPECT_LT(wanda, magnitude);
}

TEST(SparseGpt, JointSweepBeatsPruningAndThenRounding) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(600, 256, 16));
  const at::Tensor weight = RandomWeight(64, 256, at::kBFloat16, 17);
  const LinearResult joint = CompressOne(Quantizing(SparseGptStep(0.5, "2:4"), 4, 64, true), weight, &statistics);
  const LinearResult pruned = CompressOne(SparseGptStep(0.5, "2:4"), weight, &statistics);
  const LinearResult rounded = CompressOne(RtnStep(4, 64, true), pruned.weight, nullptr);
  EXPECT_LT(joint.relative_error, RelativeForm(weight, rounded.weight, statistics));
  EXPECT_GT(joint.relative_error, pruned.relative_error);
}

TEST(SparseGpt, RelativeErrorIsTheRatioOfForms) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(900, 256, 18));
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const at::Tensor weight = RandomWeight(64, 256, dtype, 19);
    for (const v1::Step& step :
         {SparseGptStep(0.5), SparseGptStep(0.5, "2:4"), Quantizing(SparseGptStep(0.5), 4, 64, false)}) {
      const LinearResult result = CompressOne(step, weight, &statistics);
      EXPECT_NEAR(result.relative_error / RelativeForm(weight, result.weight, statistics), 1.0, 0.01) << dtype;
    }
  }
}

TEST(SparseGpt, WhatIsKeptIsWhatALoaderReads) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, 128, 20));
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (bool symmetric : {true, false}) {
      for (const char* pattern : {"", "2:4"}) {
        const LinearResult result = CompressOne(Quantizing(SparseGptStep(0.5, pattern), 4, 32, symmetric),
                                                RandomWeight(40, 128, dtype, 21), &statistics);
        ASSERT_TRUE(result.quantized.has_value());
        EXPECT_TRUE(at::equal(result.weight, Dequantize(*result.quantized)));
        EXPECT_EQ(result.weight.masked_select(result.pruned).count_nonzero().item<int64_t>(), 0);
        EXPECT_NEAR(result.pruned.to(at::kDouble).mean().item<double>(), 0.5, 1e-9);
        EXPECT_EQ(result.quantized->zero_points.defined(), !symmetric);
      }
    }
  }
}

TEST(SparseGpt, PanelsChangeUnstructuredMasksAlone) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(900, 384, 22));
  const at::Tensor weight = RandomWeight(48, 384, at::kBFloat16, 23);
  const LinearResult wide = CompressOne(SparseGptStep(0.5, "", 256), weight, &statistics);
  const LinearResult narrow = CompressOne(SparseGptStep(0.5, "", 64), weight, &statistics);
  EXPECT_FALSE(at::equal(wide.pruned, narrow.pruned));
  for (const char* pattern : {"2:4", "1:3"}) {
    const LinearResult first = CompressOne(SparseGptStep(0.5, pattern, 128), weight, &statistics);
    for (int block_size : {16, 64, 1024}) {
      const LinearResult again = CompressOne(SparseGptStep(0.5, pattern, block_size), weight, &statistics);
      EXPECT_TRUE(at::equal(first.weight, again.weight)) << pattern << block_size;
    }
  }
}

TEST(SparseGpt, WhatWasPrunedBeforeStaysPrunedAndCounts) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, 64, 24));
  const at::Tensor before = RandomNormal({48, 64}, 25).gt(0.8);
  const at::Tensor weight = RandomWeight(48, 64, at::kBFloat16, 26).masked_fill(before, 0.0);
  for (const v1::Step& step : {SparseGptStep(0.5, "", 32), SparseGptStep(0.05), SparseGptStep(0.5, "1:4"),
                               Quantizing(SparseGptStep(0.5), 4, 32, true)}) {
    LinearTask task{"m", weight};
    task.pruned = before;
    const auto results = (*MakeMethod(step))->Compress({task}, &statistics);
    ASSERT_TRUE(results.ok());
    const LinearResult& result = results->front();
    EXPECT_TRUE(result.pruned.masked_select(before).all().item<bool>());
    EXPECT_EQ(result.weight.masked_select(result.pruned).count_nonzero().item<int64_t>(), 0);
    if (step.sparsegpt().sparsity() == 0.5 && step.sparsegpt().pattern().empty()) {
      EXPECT_EQ(result.pruned.sum().item<int64_t>(), 48 * 64 / 2);
    }
  }
}

TEST(SparseGpt, DeadColumnsGoFirstAndZeroRowsStay) {
  at::Tensor inputs = CorrelatedInputs(500, 128, 27);
  inputs.select(1, 5).zero_();
  inputs.select(1, 77).zero_();
  const InputStatistics statistics = StatisticsOf(inputs);
  at::Tensor weight = RandomWeight(40, 128, at::kBFloat16, 28);
  weight.select(1, 5).fill_(9.0);
  weight[3].zero_();
  for (const v1::Step& step :
       {SparseGptStep(0.5, "", 64), SparseGptStep(0.5, "2:4"), Quantizing(SparseGptStep(0.5), 4, 32, false)}) {
    const LinearResult result = CompressOne(step, weight, &statistics);
    EXPECT_EQ(result.dead_columns, 2);
    for (int64_t column : {5, 77}) {
      EXPECT_EQ(result.weight.select(1, column).abs().max().item<float>(), 0.0f);
      EXPECT_TRUE(result.pruned.select(1, column).all().item<bool>());
    }
    EXPECT_EQ(result.weight[3].abs().max().item<float>(), 0.0f);
    EXPECT_EQ(weight.select(1, 5).max().item<float>(), 9.0f) << "the task's weight was changed";
  }
}

TEST(SparseGpt, LargestWeightsStayFinite) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(300, 64, 29));
  for (const auto& [dtype, size] : std::vector<std::pair<at::ScalarType, double>>{
           {at::kHalf, 6.0e4}, {at::kBFloat16, 3.0e38}, {at::kFloat, 3.0e38}}) {
    const at::Tensor weight = RandomNormal({20, 64}, 30).sign().mul(size).to(dtype);
    for (const char* pattern : {"", "2:4"}) {
      const LinearResult result = CompressOne(SparseGptStep(0.5, pattern, 16), weight, &statistics);
      EXPECT_TRUE(at::isfinite(result.weight).all().item<bool>()) << dtype << pattern;
      EXPECT_TRUE(std::isfinite(result.relative_error));
      EXPECT_EQ(result.pruned.sum().item<int64_t>(), 20 * 32);
    }
  }
}

InputStatistics Indefinite(int64_t columns) {
  at::Tensor moment = at::eye(columns);
  moment[0].narrow(0, 1, 1).fill_(50.0);
  moment[1].narrow(0, 0, 1).fill_(50.0);
  return WithMoment(moment, 10);
}

TEST(SparseGpt, LadderIsReported) {
  at::Tensor moment = at::eye(64);
  moment[0].narrow(0, 1, 1).fill_(1.05);
  moment[1].narrow(0, 0, 1).fill_(1.05);
  const InputStatistics statistics = WithMoment(moment, 10);
  const LinearResult result = CompressOne(SparseGptStep(0.5), RandomWeight(8, 64, at::kBFloat16, 1), &statistics);
  EXPECT_EQ(result.method, "sparsegpt");
  EXPECT_NEAR(result.damping, 0.1, 1e-12);
  EXPECT_NE(result.warning.find("damping"), std::string::npos);
}

TEST(SparseGpt, FallsBackToWandaOrMagnitude) {
  const at::Tensor weight = RandomWeight(8, 64, at::kBFloat16, 31);
  const InputStatistics indefinite = Indefinite(64), zero = WithMoment(at::zeros({64, 64}), 0);
  for (const char* pattern : {"", "2:4"}) {
    const LinearResult wanda = CompressOne(SparseGptStep(0.5, pattern), weight, &indefinite);
    EXPECT_EQ(wanda.method, "sparsegpt (fallback)");
    EXPECT_FALSE(wanda.warning.empty());
    EXPECT_TRUE(at::equal(wanda.weight, CompressOne(WandaStep(0.5, pattern), weight, &indefinite).weight));
    EXPECT_GE(wanda.relative_error, 0.0);
    const LinearResult magnitude = CompressOne(SparseGptStep(0.5, pattern), weight, &zero);
    EXPECT_EQ(magnitude.method, "sparsegpt (fallback)");
    // Rows on their own.
    EXPECT_TRUE(magnitude.pruned.sum(1).eq(32).all().item<bool>());
    EXPECT_GT(magnitude.weight.abs().sum().item<float>(), 0.6f * weight.abs().sum().item<float>());
    const LinearResult joint = CompressOne(Quantizing(SparseGptStep(0.5, pattern), 4, 32, true), weight, &indefinite);
    EXPECT_EQ(joint.method, "sparsegpt (fallback)");
    EXPECT_TRUE(at::equal(joint.pruned, wanda.pruned));
    EXPECT_TRUE(at::equal(joint.weight, Dequantize(*joint.quantized)));
    EXPECT_EQ(joint.weight.masked_select(joint.pruned).count_nonzero().item<int64_t>(), 0);
  }
}

TEST(SparseGpt, FailsWhereToldTo) {
  v1::Step step = SparseGptStep(0.5);
  step.mutable_sparsegpt()->set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FAIL);
  const InputStatistics statistics = Indefinite(64);
  const auto result =
      (*MakeMethod(step))->Compress({{"layers.7.o_proj", RandomWeight(8, 64, at::kBFloat16, 1)}}, &statistics);
  EXPECT_EQ(ErrorReason(result.status()), reason::kHessianNotPositiveDefinite);
  EXPECT_NE(result.status().message().find("layers.7.o_proj"), absl::string_view::npos);
}

TEST(SparseGpt, BrokenNumbersAreErrorsWithTheModulesName) {
  const auto method = *MakeMethod(SparseGptStep(0.5));
  InputStatistics statistics = StatisticsOf(CorrelatedInputs(200, 64, 1));
  const at::Tensor weight = RandomWeight(8, 64, at::kBFloat16, 32);
  for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    at::Tensor broken = weight.clone();
    broken[1].narrow(0, 2, 1).fill_(bad);
    const auto result = method->Compress({{"a", weight}, {"layers.1.up_proj", broken}}, &statistics);
    EXPECT_EQ(ErrorReason(result.status()), reason::kNonFiniteWeights);
    EXPECT_NE(result.status().message().find("layers.1.up_proj"), absl::string_view::npos);
  }
  at::Tensor inputs = CorrelatedInputs(200, 64, 1);
  inputs[7].narrow(0, 9, 1).fill_(std::numeric_limits<float>::quiet_NaN());
  statistics = StatisticsOf(inputs);
  EXPECT_EQ(ErrorReason(method->Compress({{"layers.1.up_proj", weight}}, &statistics).status()),
            reason::kNonFiniteActivations);
  EXPECT_EQ(ErrorReason(method->Compress({{"x", weight}}, nullptr).status()), reason::kInternal);
  const auto runs = (*MakeMethod(SparseGptStep(0.5, "3:7")))->Compress({{"x", weight}}, &statistics);
  EXPECT_EQ(ErrorReason(runs.status()), reason::kInvalidRecipe);
}

TEST(SparseGpt, OptionsOutOfRangeAreRefused) {
  v1::Step damping = SparseGptStep(0.5), bits = Quantizing(SparseGptStep(0.5), 5, 32, true);
  damping.mutable_sparsegpt()->set_damping(0.0);
  for (const v1::Step& step : {damping, bits, SparseGptStep(1.0), SparseGptStep(0.5, "4:4"), SparseGptStep(0.5, "", 0),
                               SparseGptStep(0.5, "", 20)}) {
    EXPECT_EQ(ErrorReason(MakeMethod(step).status()), reason::kInvalidRecipe) << step.DebugString();
  }
  EXPECT_TRUE((*MakeMethod(SparseGptStep(0.5)))->needs().second_moment);
}

}  // namespace
}  // namespace calipress::method
