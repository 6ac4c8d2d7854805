#include "compress/method/quantize/gptq/gptq.h"

#include <limits>
#include <string>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

bool SameQuantized(const LinearResult& a, const LinearResult& b) {
  return at::equal(a.weight, b.weight) && at::equal(a.quantized->codes, b.quantized->codes) &&
         at::equal(a.quantized->scales, b.quantized->scales);
}

// Oracle 1.
TEST(Gptq, WithIndependentInputsIsRoundToNearest) {
  for (bool symmetric : {true, false}) {
    for (int bits : {2, 3, 4, 8}) {
      const at::Tensor weight = RandomWeight(50, 256, at::kBFloat16, 1);
      const InputStatistics statistics = WithMoment(at::eye(256).mul_(37.0), 1000);
      const LinearResult gptq = CompressOne(GptqStep(bits, 64, symmetric), weight, &statistics);
      const LinearResult rtn = CompressOne(RtnStep(bits, 64, symmetric), weight, nullptr);
      EXPECT_TRUE(SameQuantized(gptq, rtn)) << bits << symmetric;
      EXPECT_EQ(gptq.method, "gptq");
      EXPECT_EQ(rtn.method, "rtn");
    }
  }
}

TEST(Gptq, BeatsRoundToNearestOnCorrelatedInputs) {
  double gptq_sum = 0.0, rtn_sum = 0.0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const InputStatistics statistics = StatisticsOf(CorrelatedInputs(600, 256, seed));
    const at::Tensor weight = RandomWeight(64, 256, at::kBFloat16, seed + 100);
    const LinearResult gptq = CompressOne(GptqStep(4, 64, true), weight, &statistics);
    const LinearResult rtn = CompressOne(RtnStep(4, 64, true), weight, &statistics);
    gptq_sum += gptq.relative_error;
    rtn_sum += rtn.relative_error;
    EXPECT_GT(gptq.relative_error, 0.0);
  }
  EXPECT_LT(gptq_sum, 0.6 * rtn_sum);
}

// Where nobody measured the inputs the error is the weights' own, not zero.
TEST(Rtn, WithoutStatisticsTheErrorIsThatOfTheWeights) {
  InputStatistics ranges;
  ranges.absolute_max = at::ones({256});
  v1::Step ranged = RtnStep(8, -1, true);
  ranged.mutable_rtn()->set_activations(v1::ACTIVATIONS_STATIC);
  for (at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    const at::Tensor weight = RandomWeight(64, 256, dtype, 4);
    const at::Tensor original = weight.to(at::kDouble);
    for (const auto& [step, statistics] :
         {std::pair<v1::Step, InputStatistics*>{RtnStep(4, 64, true), nullptr}, {ranged, &ranges}}) {
      const LinearResult result = CompressOne(step, weight, statistics);
      const double total = original.square().sum().item<double>();
      const double expected = original.sub(result.weight.to(at::kDouble)).square().sum().item<double>() / total;
      EXPECT_GT(expected, 0.0);
      EXPECT_NEAR(result.relative_error / expected, 1.0, 1e-3) << dtype;
      EXPECT_NEAR(result.energy / total, 1.0, 1e-3) << dtype;
    }
  }
}

TEST(Gptq, RelativeErrorIsTheRatioOfForms) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(900, 256, 3));
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const at::Tensor weight = RandomWeight(64, 256, dtype, 4);
    for (const v1::Step& step : {GptqStep(4, 64, true), GptqStep(3, 128, false), RtnStep(4, 64, true)}) {
      const LinearResult result = CompressOne(step, weight, &statistics);
      const at::Tensor error = weight.to(at::kDouble).sub(result.weight.to(at::kDouble));
      const double expected = Form(error, statistics.second_moment) / Form(weight, statistics.second_moment);
      EXPECT_NEAR(result.relative_error / expected, 1.0, 0.01) << result.method << dtype;
    }
  }
}

TEST(Gptq, WeightIsWhatALoaderReads) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(400, 128, 5));
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (bool symmetric : {true, false}) {
      const LinearResult result = CompressOne(GptqStep(4, 32, symmetric), RandomWeight(40, 128, dtype, 6), &statistics);
      ASSERT_TRUE(result.quantized.has_value());
      const QuantizedWeight& q = *result.quantized;
      EXPECT_EQ(result.weight.scalar_type(), dtype);
      at::Tensor loader = q.codes.to(dtype).view({40, 4, 32});
      if (!symmetric) loader = loader.sub(q.zero_points.to(dtype).unsqueeze(2));
      EXPECT_TRUE(at::equal(result.weight, loader.mul(q.scales.unsqueeze(2)).view({40, 128})));
      EXPECT_EQ(q.codes.scalar_type(), at::kChar);
      EXPECT_EQ(q.zero_points.defined(), !symmetric);
    }
  }
}

// Oracle 5.
TEST(Gptq, ActOrderChangesNothingWhenDiagonalsAreEqual) {
  at::Tensor moment = StatisticsOf(CorrelatedInputs(500, 128, 7)).second_moment;
  at::Tensor norm = moment.diagonal().sqrt();
  at::Tensor correlation = moment.div(at::outer(norm, norm));
  correlation.diagonal().fill_(1.0);
  const InputStatistics statistics = WithMoment(correlation.contiguous(), 500);
  const at::Tensor weight = RandomWeight(40, 128, at::kBFloat16, 8);
  v1::Step ordered = GptqStep(4, 32, true), plain = ordered;
  plain.mutable_gptq()->set_act_order(false);
  EXPECT_TRUE(SameQuantized(CompressOne(ordered, weight, &statistics), CompressOne(plain, weight, &statistics)));
}

TEST(Gptq, ActOrderChangesCodesButNotGroups) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(500, 128, 7));
  const at::Tensor weight = RandomWeight(40, 128, at::kBFloat16, 8);
  v1::Step ordered = GptqStep(4, 32, true), plain = ordered;
  plain.mutable_gptq()->set_act_order(false);
  const LinearResult a = CompressOne(ordered, weight, &statistics), b = CompressOne(plain, weight, &statistics);
  EXPECT_TRUE(at::equal(a.quantized->scales, b.quantized->scales));
  EXPECT_FALSE(at::equal(a.quantized->codes, b.quantized->codes));
}

// Oracle 4, through the whole method.
TEST(Gptq, BlockSizeAndRerunKeepEveryBit) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(900, 384, 9));
  const at::Tensor weight = RandomWeight(48, 384, at::kBFloat16, 10);
  const LinearResult first = CompressOne(GptqStep(4, 128, true), weight, &statistics);
  for (int block_size : {32, 64, 128, 256}) {
    v1::Step step = GptqStep(4, 128, true);
    step.mutable_gptq()->set_block_size(block_size);
    const LinearResult again = CompressOne(step, weight, &statistics);
    EXPECT_TRUE(SameQuantized(first, again)) << block_size;
    EXPECT_NEAR(first.relative_error, again.relative_error, 1e-4 * first.relative_error);
  }
}

TEST(Gptq, ThreadCountChangesFloatNoiseAlone) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(900, 384, 9));
  const at::Tensor weight = RandomWeight(256, 384, at::kBFloat16, 10);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const LinearResult one = CompressOne(GptqStep(4, 128, true), weight, &statistics);
  at::set_num_threads(2);
  const LinearResult two = CompressOne(GptqStep(4, 128, true), weight, &statistics);
  at::set_num_threads(threads);
  EXPECT_GT(Agreement(one.quantized->codes, two.quantized->codes), 0.999);
}

TEST(Gptq, LinearsThatShareAnInputComeInOrderAndAsAlone) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(500, 128, 11));
  const auto method = *MakeMethod(GptqStep(4, 32, true));
  std::vector<LinearTask> tasks;
  for (int i = 0; i < 3; ++i)
    tasks.push_back({"m" + std::to_string(i), RandomWeight(32 + 16 * i, 128, at::kBFloat16, i)});
  const auto together = method->Compress(tasks, &statistics);
  ASSERT_TRUE(together.ok());
  ASSERT_EQ(together->size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const LinearResult alone = CompressOne(GptqStep(4, 32, true), tasks[i].weight, &statistics);
    EXPECT_TRUE(SameQuantized(alone, (*together)[i])) << i;
    EXPECT_GT((*together)[i].seconds, 0.0);
    EXPECT_EQ((*together)[i].damping, 0.01);
  }
}

TEST(Gptq, DeadColumnsBecomeZeroAndAreCounted) {
  at::Tensor inputs = CorrelatedInputs(500, 128, 12);
  inputs.select(1, 5).zero_();
  inputs.select(1, 77).zero_();
  const InputStatistics statistics = StatisticsOf(inputs);
  at::Tensor weight = RandomWeight(40, 128, at::kBFloat16, 13);
  weight.select(1, 5).fill_(9.0);  // would spoil its group's grid
  for (bool symmetric : {true, false}) {
    const LinearResult result = CompressOne(GptqStep(4, 32, symmetric), weight, &statistics);
    EXPECT_EQ(result.dead_columns, 2);
    EXPECT_EQ(result.weight.select(1, 5).abs().max().item<float>(), 0.0f);
    EXPECT_EQ(result.weight.select(1, 77).abs().max().item<float>(), 0.0f);
    EXPECT_LT(result.quantized->scales.max().item<float>(), 0.1f);
    EXPECT_EQ(weight.select(1, 5).min().item<float>(), 9.0f) << "the task's weight was changed";
    const ReferenceResult reference = ReferenceGptq(weight, statistics.second_moment, *result.quantized, true, 0.01);
    EXPECT_GT(Agreement(result.quantized->codes, reference.codes), 0.97);
  }
}

TEST(Gptq, ZeroRowsStayZeroAndConstantGroupsAreFine) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(500, 128, 14));
  at::Tensor weight = RandomWeight(8, 128, at::kBFloat16, 15);
  weight[3].zero_();
  weight[4].fill_(0.25);
  for (bool symmetric : {true, false}) {
    const LinearResult result = CompressOne(GptqStep(4, 32, symmetric), weight, &statistics);
    EXPECT_EQ(result.weight[3].abs().max().item<float>(), 0.0f);
    EXPECT_TRUE(at::isfinite(result.weight).all().item<bool>());
    // Within the grid, and not far on average.
    EXPECT_LE(result.weight[4].max().item<float>(), 0.26f);
    EXPECT_NEAR(result.weight[4].to(at::kFloat).mean().item<float>(), 0.25f, 0.03f);
  }
  const InputStatistics same = StatisticsOf(CorrelatedInputs(100, 64, 1));
  const LinearResult zeros = CompressOne(GptqStep(4, 32, true), at::zeros({4, 64}, at::kHalf), &same);
  EXPECT_EQ(zeros.weight.abs().max().item<float>(), 0.0f);
  EXPECT_EQ(zeros.relative_error, 0.0);
}

TEST(Gptq, SingularMomentsAreSolvedByDamping) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(10, 128, 16));  // rank 10
  const at::Tensor weight = RandomWeight(16, 128, at::kBFloat16, 17);
  const LinearResult result = CompressOne(GptqStep(4, 32, true), weight, &statistics);
  EXPECT_EQ(result.method, "gptq");
  EXPECT_LT(result.relative_error, CompressOne(RtnStep(4, 32, true), weight, &statistics).relative_error);
}

// Far from any second moment: not positive definite at any damping.
InputStatistics Indefinite(int64_t columns) {
  at::Tensor moment = at::eye(columns);
  moment[0].narrow(0, 1, 1).fill_(50.0);
  moment[1].narrow(0, 0, 1).fill_(50.0);
  return WithMoment(moment, 10);
}

TEST(Gptq, LadderIsReported) {
  at::Tensor moment = at::eye(64);
  moment[0].narrow(0, 1, 1).fill_(1.05);
  moment[1].narrow(0, 0, 1).fill_(1.05);
  const InputStatistics statistics = WithMoment(moment, 10);
  const LinearResult result = CompressOne(GptqStep(4, 32, true), RandomWeight(8, 64, at::kBFloat16, 1), &statistics);
  EXPECT_EQ(result.method, "gptq");
  EXPECT_NEAR(result.damping, 0.1, 1e-12);
  EXPECT_NE(result.warning.find("damping"), std::string::npos);
}

TEST(Gptq, FallsBackToRoundToNearest) {
  const InputStatistics statistics = Indefinite(64);
  const at::Tensor weight = RandomWeight(8, 64, at::kBFloat16, 18);
  const LinearResult result = CompressOne(GptqStep(4, 32, true), weight, &statistics);
  EXPECT_EQ(result.method, "rtn (fallback)");
  EXPECT_FALSE(result.warning.empty());
  EXPECT_TRUE(SameQuantized(result, CompressOne(RtnStep(4, 32, true), weight, nullptr)));
}

TEST(Gptq, FailsWhereToldTo) {
  v1::Step step = GptqStep(4, 32, true);
  step.mutable_gptq()->set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FAIL);
  const auto method = *MakeMethod(step);
  const InputStatistics statistics = Indefinite(64);
  const auto result = method->Compress({{"layers.7.o_proj", RandomWeight(8, 64, at::kBFloat16, 1)}}, &statistics);
  EXPECT_EQ(ErrorReason(result.status()), reason::kHessianNotPositiveDefinite);
  EXPECT_NE(result.status().message().find("layers.7.o_proj"), absl::string_view::npos);
}

TEST(Gptq, InputsThatWereAlwaysZeroFallBack) {
  const InputStatistics statistics = WithMoment(at::zeros({64, 64}), 0);
  const at::Tensor weight = RandomWeight(8, 64, at::kBFloat16, 18);
  const LinearResult result = CompressOne(GptqStep(4, 32, true), weight, &statistics);
  EXPECT_EQ(result.method, "rtn (fallback)");
  EXPECT_GT(result.weight.abs().max().item<float>(), 0.0f);
}

TEST(Gptq, BrokenNumbersAreErrorsWithTheModulesName) {
  const auto method = *MakeMethod(GptqStep(4, 32, true));
  InputStatistics statistics = StatisticsOf(CorrelatedInputs(200, 64, 1));
  at::Tensor weight = RandomWeight(8, 64, at::kBFloat16, 19);
  at::Tensor broken = weight.clone();
  broken[1].narrow(0, 2, 1).fill_(std::numeric_limits<float>::infinity());
  const auto bad_weight = method->Compress({{"a", weight}, {"layers.1.up_proj", broken}}, &statistics);
  EXPECT_EQ(ErrorReason(bad_weight.status()), reason::kNonFiniteWeights);
  EXPECT_NE(bad_weight.status().message().find("layers.1.up_proj"), absl::string_view::npos);
  at::Tensor inputs = CorrelatedInputs(200, 64, 1);
  inputs[7].narrow(0, 9, 1).fill_(std::numeric_limits<float>::quiet_NaN());
  statistics = StatisticsOf(inputs);
  const auto bad_inputs = method->Compress({{"layers.1.up_proj", weight}}, &statistics);
  EXPECT_EQ(ErrorReason(bad_inputs.status()), reason::kNonFiniteActivations);
  EXPECT_NE(bad_inputs.status().message().find("layers.1.up_proj"), absl::string_view::npos);
  EXPECT_EQ(ErrorReason(method->Compress({{"x", weight}}, nullptr).status()), reason::kInternal);
}

TEST(MakeMethodTest, RefusesWhatNoMethodDoes) {
  EXPECT_EQ(ErrorReason(MakeMethod(v1::Step()).status()), reason::kInvalidRecipe);
  EXPECT_EQ(ErrorReason(MakeMethod(RtnStep(5, 32, true)).status()), reason::kInvalidRecipe);
  EXPECT_EQ(ErrorReason(MakeMethod(GptqStep(4, 0, true)).status()), reason::kInvalidRecipe);
  v1::Step damping = GptqStep(4, 32, true);
  damping.mutable_gptq()->set_damping(0.0);
  EXPECT_EQ(ErrorReason(MakeMethod(damping).status()), reason::kInvalidRecipe);
  v1::Step block = GptqStep(4, 32, true);
  block.mutable_gptq()->set_block_size(0);
  EXPECT_EQ(ErrorReason(MakeMethod(block).status()), reason::kInvalidRecipe);
}

TEST(MakeMethodTest, SaysWhatItWantsToKnow) {
  EXPECT_FALSE((*MakeMethod(RtnStep(4, 32, true)))->needs().Any());
  EXPECT_TRUE((*MakeMethod(GptqStep(4, 32, true)))->needs().second_moment);
}

}  // namespace
}  // namespace calipress::method
