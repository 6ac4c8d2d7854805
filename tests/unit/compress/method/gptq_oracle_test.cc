// The sweep against what mathematics says of it (docs: methods, section 9.3) and against a plain transcription.
#include <string>
#include <tuple>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/gptq/sweep.h"
#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/tensor/cpu_features.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

struct Problem {
  at::Tensor weight;
  InputStatistics statistics;
  checkpoint::QuantizationScheme scheme;
};

Problem MakeProblem(int64_t rows, int64_t columns, const checkpoint::QuantizationScheme& scheme, at::ScalarType dtype,
                    uint64_t seed) {
  return {RandomWeight(rows, columns, dtype, seed), StatisticsOf(CorrelatedInputs(3 * columns, columns, seed + 50)),
          scheme};
}

gptq::SweepTask TaskOf(const Problem& problem) {
  gptq::SweepTask task;
  task.weight = problem.weight;
  task.grid = FitMinMaxGrid(problem.weight, problem.scheme);
  return task;
}

QuantizedWeight Quantized(const Problem& problem, const gptq::SweepTask& task) {
  return {problem.scheme, task.codes, task.grid.scales, task.grid.zero_points};
}

std::vector<const gptq::SweepKernel*> Kernels() {
  std::vector<const gptq::SweepKernel*> kernels = {&gptq::kSweepPortable};
  if (tensor::CpuHasAvx2()) kernels.push_back(&gptq::kSweepAvx2);
  if (tensor::CpuHasAvx512()) kernels.push_back(&gptq::kSweepAvx512);
  return kernels;
}

class SweepTest : public testing::TestWithParam<std::tuple<int, int64_t, bool, at::ScalarType>> {
 protected:
  Problem MakeProblem(int64_t rows, int64_t columns) const {
    const auto [bits, group, symmetric, dtype] = GetParam();
    return method::MakeProblem(rows, columns, {bits, group, symmetric}, dtype, 21);
  }
};

// Oracle 2: sum e^2 = tr(dW H dW') with the damped H, in double and from the weight that a loader makes.
TEST_P(SweepTest, LossIsTheQuadraticFormOfTheError) {
  const Problem problem = MakeProblem(37, 96);
  const gptq::ColumnPlan plan = gptq::PlanColumns(problem.statistics.second_moment, true);
  auto factor = gptq::Factorize(problem.statistics.second_moment, plan, 0.01);
  ASSERT_TRUE(factor.has_value());
  for (const gptq::SweepKernel* kernel : Kernels()) {
    std::vector<gptq::SweepTask> tasks = {TaskOf(problem)};
    gptq::SweepOnCpu(problem.scheme, plan, *factor, 32, *kernel, tasks);
    at::Tensor error = problem.weight.to(at::kDouble).sub(Dequantize(Quantized(problem, tasks[0])).to(at::kDouble));
    const double shift = error.square().sum().item<double>();
    const double form = Form(error, problem.statistics.second_moment) / plan.mean;
    EXPECT_NEAR(tasks[0].shift / shift, 1.0, 1e-4) << kernel->name;
    EXPECT_NEAR(tasks[0].loss / (form + 0.01 * shift), 1.0, 1e-4) << kernel->name;
  }
}

TEST_P(SweepTest, FollowsTheTranscription) {
  const Problem problem = MakeProblem(40, 96);
  for (bool act_order : {false, true}) {
    const gptq::ColumnPlan plan = gptq::PlanColumns(problem.statistics.second_moment, act_order);
    auto factor = gptq::Factorize(problem.statistics.second_moment, plan, 0.01);
    ASSERT_TRUE(factor.has_value());
    std::vector<gptq::SweepTask> cpu = {TaskOf(problem)}, device = {TaskOf(problem)};
    gptq::SweepOnCpu(problem.scheme, plan, *factor, 32, cpu);
    gptq::SweepOnDevice(problem.scheme, plan, *factor, 32, device);
    const ReferenceResult reference =
        ReferenceGptq(problem.weight, problem.statistics.second_moment, Quantized(problem, cpu[0]), act_order, 0.01);
    // A code at the middle between two may fall to either side, and takes the rest of its row along.
    EXPECT_GT(Agreement(cpu[0].codes, reference.codes), 0.97);
    EXPECT_GT(Agreement(device[0].codes, reference.codes), 0.97);
    EXPECT_NEAR(cpu[0].loss * plan.mean / reference.loss, 1.0, 0.02);
    EXPECT_NEAR(device[0].loss * plan.mean / reference.loss, 1.0, 0.02);
    EXPECT_NEAR(device[0].shift / cpu[0].shift, 1.0, 0.02);
  }
}

// Oracle 4: with grids fixed before, the panel's width changes speed alone; here not even a bit.
TEST_P(SweepTest, NeitherPanelsNorThreadsChangeABit) {
  const Problem problem = MakeProblem(75, 288);
  const gptq::ColumnPlan plan = gptq::PlanColumns(problem.statistics.second_moment, true);
  auto factor = gptq::Factorize(problem.statistics.second_moment, plan, 0.01);
  ASSERT_TRUE(factor.has_value());
  std::vector<gptq::SweepTask> first = {TaskOf(problem)};
  gptq::SweepOnCpu(problem.scheme, plan, *factor, 128, first);
  const int threads = at::get_num_threads();
  for (int64_t block_size : {1, 20, 32, 64, 128, 256, 4096}) {
    at::set_num_threads(block_size % 3 + 1);
    std::vector<gptq::SweepTask> tasks = {TaskOf(problem)};
    gptq::SweepOnCpu(problem.scheme, plan, *factor, block_size, tasks);
    EXPECT_TRUE(at::equal(tasks[0].codes, first[0].codes)) << block_size;
    EXPECT_NEAR(tasks[0].loss / first[0].loss, 1.0, 1e-5) << block_size;
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Schemes, SweepTest,
                         testing::Combine(testing::Values(2, 3, 4, 8), testing::Values<int64_t>(32, -1),
                                          testing::Bool(), testing::Values(at::kBFloat16, at::kHalf, at::kFloat)),
                         [](const auto& info) {
                           const int64_t group = std::get<1>(info.param);
                           return std::to_string(std::get<0>(info.param)) + "bit_" +
                                  (group < 0 ? "channel" : "group" + std::to_string(group)) +
                                  (std::get<2>(info.param) ? "_symmetric_" : "_asymmetric_") +
                                  c10::toString(std::get<3>(info.param));
                         });

// Kernels add in one order; they differ in fused and separate multiply-adds.
TEST(SweepKernels, AgreeBetweenInstructionSets) {
  const Problem problem = MakeProblem(64, 256, {4, 64, true}, at::kBFloat16, 5);
  const gptq::ColumnPlan plan = gptq::PlanColumns(problem.statistics.second_moment, true);
  auto factor = gptq::Factorize(problem.statistics.second_moment, plan, 0.01);
  ASSERT_TRUE(factor.has_value());
  std::vector<gptq::SweepTask> portable = {TaskOf(problem)};
  gptq::SweepOnCpu(problem.scheme, plan, *factor, 128, gptq::kSweepPortable, portable);
  for (const gptq::SweepKernel* kernel : Kernels()) {
    std::vector<gptq::SweepTask> tasks = {TaskOf(problem)};
    gptq::SweepOnCpu(problem.scheme, plan, *factor, 128, *kernel, tasks);
    EXPECT_GT(Agreement(tasks[0].codes, portable[0].codes), 0.99) << kernel->name;
    EXPECT_NEAR(tasks[0].loss / portable[0].loss, 1.0, 0.005) << kernel->name;
  }
}

// Columns and rows that fill no tile and no block.
TEST(SweepShapes, OddOnesFollowTheTranscription) {
  for (auto [rows, columns] : {std::pair{1, 1}, {3, 7}, {33, 9}, {31, 50}, {70, 133}}) {
    const Problem problem = MakeProblem(rows, columns, {8, -1, false}, at::kFloat, 31);
    const gptq::ColumnPlan plan = gptq::PlanColumns(problem.statistics.second_moment, true);
    auto factor = gptq::Factorize(problem.statistics.second_moment, plan, 0.01);
    ASSERT_TRUE(factor.has_value());
    std::vector<gptq::SweepTask> tasks = {TaskOf(problem)};
    gptq::SweepOnCpu(problem.scheme, plan, *factor, 32, tasks);
    const ReferenceResult reference =
        ReferenceGptq(problem.weight, problem.statistics.second_moment, Quantized(problem, tasks[0]), true, 0.01);
    EXPECT_GT(Agreement(tasks[0].codes, reference.codes), 0.97) << rows << "x" << columns;
  }
}

// A linear gets the same codes beside others as alone.
TEST(SweepTasks, StackedRowsAreIndependent) {
  const Problem problem = MakeProblem(45, 128, {4, 32, false}, at::kBFloat16, 6);
  Problem other = problem;
  other.weight = RandomWeight(70, 128, at::kBFloat16, 99);
  const gptq::ColumnPlan plan = gptq::PlanColumns(problem.statistics.second_moment, true);
  auto factor = gptq::Factorize(problem.statistics.second_moment, plan, 0.01);
  ASSERT_TRUE(factor.has_value());
  std::vector<gptq::SweepTask> alone = {TaskOf(problem)};
  std::vector<gptq::SweepTask> both = {TaskOf(other), TaskOf(problem)};
  gptq::SweepOnCpu(problem.scheme, plan, *factor, 128, alone);
  gptq::SweepOnCpu(problem.scheme, plan, *factor, 128, both);
  EXPECT_TRUE(at::equal(alone[0].codes, both[1].codes));
  EXPECT_EQ(alone[0].loss, both[1].loss);
}

TEST(ColumnPlanTest, OrdersByDiagonalStably) {
  at::Tensor moment = at::diag(at::tensor({1.0f, 0.0f, 4.0f, 1.0f, 4.0f, 0.0f}));
  EXPECT_EQ(gptq::PlanColumns(moment, true).order, (std::vector<int64_t>{2, 4, 0, 3, 1, 5}));
  const gptq::ColumnPlan plan = gptq::PlanColumns(moment, false);
  EXPECT_EQ(plan.order, (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(plan.dead, (std::vector<int64_t>{1, 5}));
  EXPECT_DOUBLE_EQ(plan.mean, 2.5);
}

TEST(FactorTest, IsTheFactorOfTheReversedDampedMatrix) {
  at::Tensor moment = StatisticsOf(CorrelatedInputs(200, 40, 77)).second_moment;
  const gptq::ColumnPlan plan = gptq::PlanColumns(moment, true);
  auto factor = gptq::Factorize(moment, plan, 0.02);
  ASSERT_TRUE(factor.has_value());
  EXPECT_EQ(factor->damping, 0.02);
  at::Tensor columns = at::tensor(std::vector<int64_t>(plan.order.rbegin(), plan.order.rend()), at::kLong);
  at::Tensor expected = moment.to(at::kDouble).index_select(0, columns).index_select(1, columns).div_(plan.mean);
  expected.diagonal().add_(0.02);
  at::Tensor lower = factor->lower.to(at::kDouble).tril();
  EXPECT_LT(at::mm(lower, lower.t()).sub(expected).abs().max().item<double>(),
            1e-5 * expected.abs().max().item<double>());
}

TEST(FactorTest, DampingClimbsUntilItHolds) {
  // One direction is negative by 0.05 of the mean: 0.001 and 0.01 do not make up for it, 0.1 does.
  at::Tensor moment = at::eye(32).mul_(100.0);
  moment[3].narrow(0, 4, 1).fill_(105.0);
  moment[4].narrow(0, 3, 1).fill_(105.0);
  const gptq::ColumnPlan plan = gptq::PlanColumns(moment, false);
  auto factor = gptq::Factorize(moment, plan, 0.001);
  ASSERT_TRUE(factor.has_value());
  EXPECT_NEAR(factor->damping, 0.1, 1e-12);
  moment[3].narrow(0, 4, 1).fill_(150.0);
  moment[4].narrow(0, 3, 1).fill_(150.0);
  EXPECT_EQ(gptq::Factorize(moment, plan, 0.03)->damping, 1.0);
  moment[3].narrow(0, 4, 1).fill_(500.0);
  moment[4].narrow(0, 3, 1).fill_(500.0);
  EXPECT_FALSE(gptq::Factorize(moment, plan, 0.01).has_value());
}

}  // namespace
}  // namespace calipress::method
