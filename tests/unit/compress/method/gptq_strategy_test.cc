// GPTQ over scales that rows share, and over floats.
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/gptq/sweep.h"
#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/tensor/cpu_features.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

using checkpoint::NumberType;
using checkpoint::QuantizationScheme;
using checkpoint::Strategy;

struct Case {
  const char* name;
  QuantizationScheme scheme;
};

const Case kCases[] = {
    {"float_channel", {8, -1, true, NumberType::kFloat, Strategy::kChannel}},
    {"float_tensor", {8, -1, true, NumberType::kFloat, Strategy::kTensor}},
    {"float_block", {8, -1, true, NumberType::kFloat, Strategy::kBlock}},
    {"int_tensor", {8, -1, true, NumberType::kInt, Strategy::kTensor}},
    {"int_tensor_asymmetric", {4, -1, false, NumberType::kInt, Strategy::kTensor}},
};

class SweepStrategyTest : public testing::TestWithParam<Case> {
 protected:
  SweepStrategyTest()
      : scheme_(GetParam().scheme),
        weight_(RandomWeight(150, 384, at::kBFloat16, 31)),
        statistics_(StatisticsOf(CorrelatedInputs(900, 384, 32))),
        plan_(gptq::PlanColumns(statistics_.second_moment, true)),
        factor_(*gptq::Factorize(statistics_.second_moment, plan_, 0.01)) {}

  std::vector<gptq::SweepTask> Tasks() const {
    gptq::SweepTask task;
    task.weight = weight_;
    task.grid = FitMinMaxGrid(weight_, scheme_);
    return {task};
  }
  QuantizedWeight Quantized(const gptq::SweepTask& task) const {
    return {scheme_, task.codes, task.grid.scales, task.grid.zero_points, {}};
  }
  double ErrorOf(const at::Tensor& result) const {
    return Form(weight_.to(at::kDouble).sub(result.to(at::kDouble)), statistics_.second_moment);
  }

  const QuantizationScheme scheme_;
  const at::Tensor weight_;
  const InputStatistics statistics_;
  const gptq::ColumnPlan plan_;
  const gptq::Factor factor_;
};

TEST_P(SweepStrategyTest, LossIsTheQuadraticFormAndLessThanRoundingToNearest) {
  std::vector<const gptq::SweepKernel*> kernels = {&gptq::kSweepPortable};
  if (tensor::CpuHasAvx2()) kernels.push_back(&gptq::kSweepAvx2);
  if (tensor::CpuHasAvx512()) kernels.push_back(&gptq::kSweepAvx512);
  for (const gptq::SweepKernel* kernel : kernels) {
    std::vector<gptq::SweepTask> tasks = Tasks();
    gptq::SweepOnCpu(scheme_, plan_, factor_, 64, *kernel, tasks);
    const at::Tensor result = Dequantize(Quantized(tasks[0]));
    const double shift = result.to(at::kDouble).sub(weight_.to(at::kDouble)).square().sum().item<double>();
    EXPECT_NEAR(tasks[0].loss / (ErrorOf(result) / plan_.mean + 0.01 * shift), 1.0, 1e-4) << kernel->name;
    const Grid& grid = tasks[0].grid;
    const at::Tensor nearest = NearestCodes(weight_, grid, scheme_);
    EXPECT_LT(ErrorOf(result), ErrorOf(Dequantize({scheme_, nearest, grid.scales, grid.zero_points, {}})));
  }
}

// The grids that rows share, given to each row: the same sweep.
TEST_P(SweepStrategyTest, EqualsRowsWithTheirOwnScales) {
  std::vector<gptq::SweepTask> tasks = Tasks(), own = Tasks();
  gptq::SweepOnCpu(scheme_, plan_, factor_, 128, tasks);
  QuantizationScheme of_rows = scheme_;
  of_rows.strategy = scheme_.strategy == Strategy::kBlock ? Strategy::kGroup : Strategy::kChannel;
  of_rows.group_size = scheme_.strategy == Strategy::kBlock ? checkpoint::kBlockSize : -1;
  for (at::Tensor* grid : {&own[0].grid.scales, &own[0].grid.zero_points}) {
    if (grid->defined()) *grid = grid->repeat_interleave(scheme_.RowsPerScale(150), 0).narrow(0, 0, 150).contiguous();
  }
  gptq::SweepOnCpu(of_rows, plan_, factor_, 128, own);
  EXPECT_TRUE(at::equal(tasks[0].codes.view(at::kByte), own[0].codes.view(at::kByte)));
  EXPECT_EQ(tasks[0].loss, own[0].loss);
}

TEST_P(SweepStrategyTest, DeviceOperationsAgree) {
  std::vector<gptq::SweepTask> cpu = Tasks(), device = Tasks();
  gptq::SweepOnCpu(scheme_, plan_, factor_, 64, cpu);
  gptq::SweepOnDevice(scheme_, plan_, factor_, 64, device);
  EXPECT_EQ(device[0].codes.scalar_type(), cpu[0].codes.scalar_type());
  EXPECT_GT(Agreement(device[0].codes.to(at::kFloat), cpu[0].codes.to(at::kFloat)), 0.97);
  EXPECT_NEAR(device[0].loss / cpu[0].loss, 1.0, 0.02);
}

// Inputs that are not correlated leave nothing to make up for.
TEST_P(SweepStrategyTest, DiagonalMomentsRoundToNearest) {
  const gptq::ColumnPlan plan = gptq::PlanColumns(at::diag(statistics_.square_sum), true);
  const auto factor = gptq::Factorize(at::diag(statistics_.square_sum), plan, 0.01);
  ASSERT_TRUE(factor.has_value());
  std::vector<gptq::SweepTask> tasks = Tasks();
  gptq::SweepOnCpu(scheme_, plan, *factor, 64, tasks);
  EXPECT_TRUE(at::equal(tasks[0].codes.view(at::kByte), NearestCodes(weight_, tasks[0].grid, scheme_).view(at::kByte)));
}

TEST_P(SweepStrategyTest, PrunedWeightsStayZero) {
  std::vector<gptq::SweepTask> tasks = Tasks();
  tasks[0].pruned = RandomNormal({150, 384}, 9).gt(0.3);
  tasks[0].weight = weight_.masked_fill(tasks[0].pruned, 0.0);
  tasks[0].grid = FitMinMaxGrid(tasks[0].weight, scheme_);
  gptq::SweepOnCpu(scheme_, plan_, factor_, 64, tasks);
  const at::Tensor result = Dequantize(Quantized(tasks[0]));
  EXPECT_EQ(result.masked_select(tasks[0].pruned).abs().max().item<double>(), 0.0);
}

INSTANTIATE_TEST_SUITE_P(Cases, SweepStrategyTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Gptq, StaticActivationsHaveOneScaleForLinearsOfOneInput) {
  const at::Tensor inputs = CorrelatedInputs(300, 64, 5);
  InputStatistics statistics = StatisticsOf(inputs);
  statistics.absolute_max = std::get<0>(inputs.abs().max(0));
  v1::Step step = GptqStep(8, -1, true);
  step.mutable_gptq()->set_activations(v1::ACTIVATIONS_STATIC);
  auto method = MakeMethod(step);
  ASSERT_TRUE(method.ok()) << method.status();
  EXPECT_TRUE((*method)->needs().absolute_max);
  auto results = (*method)->Compress(
      {{"q_proj", RandomWeight(8, 64, at::kBFloat16, 1)}, {"k_proj", RandomWeight(4, 64, at::kBFloat16, 2)}},
      &statistics);
  ASSERT_TRUE(results.ok()) << results.status();
  const double scale = (*results)[0].quantized->input_scale.item<double>();
  EXPECT_NEAR(scale, inputs.abs().max().item<double>() / 127.5, scale / 256);
  EXPECT_EQ((*results)[1].quantized->input_scale.item<double>(), scale);
}

}  // namespace
}  // namespace calipress::method
