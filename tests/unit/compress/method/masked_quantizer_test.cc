// What an earlier step pruned stays zero under GPTQ and RTN.
#include <tuple>
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

at::Tensor HalfPruned(int64_t rows, int64_t columns, uint64_t seed) {
  return RandomNormal({rows, columns}, seed).gt(0.0);
}

LinearResult CompressMasked(const v1::Step& step, const at::Tensor& weight, const at::Tensor& pruned,
                            const InputStatistics* statistics) {
  LinearTask task{"model.layers.0.mlp.down_proj", weight};
  task.pruned = pruned;
  auto results = (*MakeMethod(step))->Compress({task}, statistics);
  EXPECT_TRUE(results.ok()) << results.status();
  return std::move(results->front());
}

void ExpectZeros(const LinearResult& result, const at::Tensor& pruned) {
  EXPECT_EQ(result.weight.masked_select(pruned).count_nonzero().item<int64_t>(), 0);
  at::Tensor codes = result.quantized->codes.to(at::kLong);
  if (result.quantized->zero_points.defined()) {
    const int64_t width = codes.size(1) / result.quantized->zero_points.size(1);
    codes = codes.sub(result.quantized->zero_points.to(at::kLong).repeat_interleave(width, 1));
  }
  EXPECT_EQ(codes.masked_select(pruned).count_nonzero().item<int64_t>(), 0);
}

TEST(MaskedQuantizer, ZerosStayAndTheErrorIsTheRatioOfForms) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(600, 128, 1));
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (bool symmetric : {true, false}) {
      for (const v1::Step& step :
           {GptqStep(4, 32, symmetric), GptqStep(2, 128, symmetric), RtnStep(3, 64, symmetric)}) {
        const at::Tensor pruned = HalfPruned(45, 128, 2);
        const at::Tensor weight = RandomWeight(45, 128, dtype, 3).masked_fill(pruned, 0.0);
        const LinearResult result = CompressMasked(step, weight, pruned, &statistics);
        ExpectZeros(result, pruned);
        const at::Tensor error = weight.to(at::kDouble).sub(result.weight.to(at::kDouble));
        const double expected = Form(error, statistics.second_moment) / Form(weight, statistics.second_moment);
        EXPECT_NEAR(result.relative_error / expected, 1.0, 0.01) << result.method << dtype << symmetric;
      }
    }
  }
}

TEST(MaskedQuantizer, FeedbackGoesIntoWhatIsKept) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(600, 256, 4));
  const at::Tensor pruned = HalfPruned(64, 256, 5);
  const at::Tensor weight = RandomWeight(64, 256, at::kBFloat16, 6).masked_fill(pruned, 0.0);
  const double gptq = CompressMasked(GptqStep(4, 64, true), weight, pruned, &statistics).relative_error;
  const double rtn = CompressMasked(RtnStep(4, 64, true), weight, pruned, &statistics).relative_error;
  EXPECT_LT(gptq, 0.8 * rtn);
}

TEST(MaskedQuantizer, FallbackKeepsZerosToo) {
  const InputStatistics statistics = WithMoment(at::zeros({64, 64}), 10);
  const at::Tensor pruned = HalfPruned(16, 64, 7);
  // What the mask names is zero even where the weight is not.
  const LinearResult result =
      CompressMasked(GptqStep(4, 32, false), RandomWeight(16, 64, at::kBFloat16, 8), pruned, &statistics);
  EXPECT_EQ(result.method, "rtn (fallback)");
  ExpectZeros(result, pruned);
}

// Oracle 2 with a mask, on every kernel and path; and all of them agree.
TEST(MaskedQuantizer, LossIsTheQuadraticFormOnEveryKernel) {
  std::vector<const gptq::SweepKernel*> kernels = {&gptq::kSweepPortable};
  if (tensor::CpuHasAvx2()) kernels.push_back(&gptq::kSweepAvx2);
  if (tensor::CpuHasAvx512()) kernels.push_back(&gptq::kSweepAvx512);
  kernels.push_back(nullptr);  // SweepOnDevice
  uint64_t seed = 20;
  for (const auto& [rows, columns, bits] : std::vector<std::tuple<int64_t, int64_t, int>>{
           {1, 8, 4}, {33, 40, 3}, {70, 104, 4}, {37, 96, 2}, {64, 200, 8}}) {
    for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
      for (bool symmetric : {true, false}) {
        const checkpoint::QuantizationScheme scheme{.bits = bits, .group_size = 8, .symmetric = symmetric};
        const InputStatistics statistics = StatisticsOf(CorrelatedInputs(3 * columns, columns, ++seed));
        const at::Tensor pruned = HalfPruned(rows, columns, ++seed);
        const at::Tensor weight = RandomWeight(rows, columns, dtype, ++seed).masked_fill(pruned, 0.0);
        const gptq::ColumnPlan plan = gptq::PlanColumns(statistics.second_moment, true);
        const auto factor = gptq::Factorize(statistics.second_moment, plan, 0.01);
        ASSERT_TRUE(factor.has_value());
        at::Tensor first;
        for (const gptq::SweepKernel* kernel : kernels) {
          std::vector<gptq::SweepTask> tasks(1);
          tasks[0].weight = weight;
          tasks[0].pruned = pruned;
          tasks[0].grid = FitMinMaxGrid(weight, scheme);
          kernel != nullptr ? gptq::SweepOnCpu(scheme, plan, *factor, 16, *kernel, tasks)
                            : gptq::SweepOnDevice(scheme, plan, *factor, 16, tasks);
          const QuantizedWeight quantized{scheme, tasks[0].codes, tasks[0].grid.scales, tasks[0].grid.zero_points};
          const at::Tensor value = Dequantize(quantized);
          EXPECT_EQ(value.masked_select(pruned).count_nonzero().item<int64_t>(), 0);
          const at::Tensor error = weight.to(at::kDouble).sub(value.to(at::kDouble));
          const double damped =
              Form(error, statistics.second_moment) / plan.mean + factor->damping * error.square().sum().item<double>();
          EXPECT_NEAR(tasks[0].loss, damped, 2e-3 * damped + 1e-12) << rows << "x" << columns;
          if (!first.defined()) first = tasks[0].codes;
          if (rows > 1) EXPECT_GT(Agreement(first, tasks[0].codes), 0.97);
        }
      }
    }
  }
}

}  // namespace
}  // namespace calipress::method
