// Magnitude and Wanda against plain transcriptions, and what they do with odd weights and inputs.
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

v1::Step MagnitudeStep(double sparsity, const std::string& pattern = "") {
  v1::Step step;
  step.mutable_magnitude()->set_sparsity(sparsity);
  step.mutable_magnitude()->set_pattern(pattern);
  return step;
}

v1::Step WandaStep(double sparsity, const std::string& pattern = "", bool variant = false) {
  v1::Step step;
  step.mutable_wanda()->set_sparsity(sparsity);
  step.mutable_wanda()->set_pattern(pattern);
  step.mutable_wanda()->set_variant(variant);
  return step;
}

InputStatistics WithSquares(const at::Tensor& square_sum) {
  InputStatistics statistics;
  statistics.square_sum = square_sum;
  statistics.tokens = 100;
  return statistics;
}

InputStatistics RandomSquares(int64_t columns, uint64_t seed) {
  return WithSquares(RandomNormal({columns}, seed).exp().mul(30));
}

at::Tensor CountsOfRows(const LinearResult& result) { return result.pruned.to(at::kLong).sum(1); }

// Every zero is exact, and nothing else changed.
void ExpectMasked(const LinearResult& result, const at::Tensor& weight) {
  EXPECT_EQ(result.weight.scalar_type(), weight.scalar_type());
  EXPECT_TRUE(at::equal(result.weight, weight.masked_fill(result.pruned, 0.0)));
}

absl::Status StatusOf(const v1::Step& step, const at::Tensor& weight, const InputStatistics* statistics) {
  return (*MakeMethod(step))->Compress({{"model.layers.0.mlp.up_proj", weight}}, statistics).status();
}

TEST(Wanda, RowsAreTheTranscription) {
  const InputStatistics statistics = RandomSquares(192, 1);
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (double sparsity : {0.0, 0.3, 0.5, 0.9}) {
      const at::Tensor weight = RandomWeight(40, 192, dtype, 2);
      const LinearResult result = CompressOne(WandaStep(sparsity), weight, &statistics);
      const at::Tensor metric = weight.to(at::kFloat).abs().mul(statistics.square_sum.sqrt());
      const at::Tensor order = std::get<1>(metric.sort(/*stable=*/true, 1, /*descending=*/false));
      const int64_t count = static_cast<int64_t>(192 * sparsity);
      const at::Tensor expected = at::zeros({40, 192}, at::kBool).scatter_(1, order.narrow(1, 0, count), true);
      EXPECT_TRUE(at::equal(result.pruned, expected));
      ExpectMasked(result, weight);
      EXPECT_EQ(result.method, "wanda");
      const at::Tensor energy = weight.to(at::kDouble).square().mul(statistics.square_sum.to(at::kDouble));
      const double ratio = energy.masked_select(expected).sum().item<double>() / energy.sum().item<double>();
      EXPECT_NEAR(result.relative_error, ratio, 1e-6);
    }
  }
}

TEST(Wanda, PatternsHaveExactlyNZerosInEveryRun) {
  const InputStatistics statistics = RandomSquares(96, 3);
  for (const auto& [text, zeros, of] : std::vector<std::tuple<std::string, int, int>>{
           {"2:4", 2, 4}, {"4:8", 4, 8}, {"5:8", 5, 8}, {"1:3", 1, 3}, {"8:16", 8, 16}, {"12:32", 12, 32}}) {
    const at::Tensor weight = RandomWeight(20, 96, at::kBFloat16, 4);
    const LinearResult result = CompressOne(WandaStep(0.5, text), weight, &statistics);
    EXPECT_TRUE(result.pruned.view({20, 96 / of, of}).to(at::kLong).sum(2).eq(zeros).all().item<bool>()) << text;
    ExpectMasked(result, weight);
  }
}

TEST(Wanda, EqualInputsMakeItMagnitudeOfRowsAndRuns) {
  const InputStatistics statistics = WithSquares(at::full({128}, 16.0f));
  const at::Tensor weight = RandomWeight(30, 128, at::kFloat, 5);
  const LinearResult rows = CompressOne(WandaStep(0.25), weight, &statistics);
  for (int64_t row = 0; row < 30; ++row) {
    const LinearResult one = CompressOne(MagnitudeStep(0.25), weight.narrow(0, row, 1), nullptr);
    EXPECT_TRUE(at::equal(one.pruned, rows.pruned.narrow(0, row, 1))) << row;
  }
  EXPECT_TRUE(at::equal(CompressOne(WandaStep(0.5, "2:4"), weight, &statistics).pruned,
                        CompressOne(MagnitudeStep(0.5, "2:4"), weight, nullptr).pruned));
}

TEST(Wanda, ScaleOfTheStatisticsDoesNotMatter) {
  const InputStatistics statistics = RandomSquares(128, 6);
  const at::Tensor weight = RandomWeight(30, 128, at::kBFloat16, 7);
  const InputStatistics scaled = WithSquares(statistics.square_sum.mul(1024.0));
  EXPECT_TRUE(at::equal(CompressOne(WandaStep(0.5), weight, &statistics).pruned,
                        CompressOne(WandaStep(0.5), weight, &scaled).pruned));
}

TEST(Wanda, VariantTakesTheSameShareOfEachRowsSum) {
  const InputStatistics statistics = RandomSquares(512, 8);
  const at::Tensor weight = RandomWeight(64, 512, at::kFloat, 9);
  const LinearResult result = CompressOne(WandaStep(0.5, "", true), weight, &statistics);
  EXPECT_NEAR(result.pruned.to(at::kDouble).mean().item<double>(), 0.5, 0.0011);
  EXPECT_GT(CountsOfRows(result).max().item<int64_t>(), CountsOfRows(result).min().item<int64_t>());
  const at::Tensor metric = weight.abs().mul(statistics.square_sum.sqrt()).to(at::kDouble);
  const at::Tensor share = metric.mul(result.pruned).sum(1).div(metric.sum(1));
  EXPECT_LT((share.max() - share.min()).item<double>(), 0.02);
  EXPECT_TRUE(result.warning.empty());
  // Nothing above alpha 0.8 is tried.
  EXPECT_FALSE(CompressOne(WandaStep(0.99, "", true), weight, &statistics).warning.empty());
}

TEST(Wanda, DeadColumnsGoFirstAndZeroRowsKeepTheirCount) {
  at::Tensor squares = RandomSquares(64, 10).square_sum;
  squares.narrow(0, 0, 16).fill_(0.0);
  const InputStatistics statistics = WithSquares(squares);
  at::Tensor weight = RandomWeight(8, 64, at::kBFloat16, 11);
  weight.select(0, 3).fill_(0.0);
  const LinearResult result = CompressOne(WandaStep(0.25), weight, &statistics);
  EXPECT_EQ(result.dead_columns, 16);
  EXPECT_TRUE(result.pruned.narrow(1, 0, 16).all().item<bool>());
  EXPECT_TRUE(CountsOfRows(result).eq(16).all().item<bool>());
  EXPECT_EQ(result.relative_error, 0.0);
  const InputStatistics nothing = WithSquares(at::zeros({64}));
  EXPECT_TRUE(CountsOfRows(CompressOne(WandaStep(0.25), weight, &nothing)).eq(16).all().item<bool>());
}

TEST(Wanda, WhatWasPrunedBeforeStaysPruned) {
  const InputStatistics statistics = RandomSquares(64, 12);
  const at::Tensor before = RandomNormal({8, 64}, 13).gt(0.8);
  const at::Tensor weight = RandomWeight(8, 64, at::kBFloat16, 14).masked_fill(before, 0.0);
  for (const v1::Step& step : {WandaStep(0.5), WandaStep(0.05), WandaStep(0.5, "", true), MagnitudeStep(0.5)}) {
    LinearTask task{"m", weight};
    task.pruned = before;
    const auto results = (*MakeMethod(step))->Compress({task}, &statistics);
    ASSERT_TRUE(results.ok());
    EXPECT_TRUE((*results)[0].pruned.masked_select(before).all().item<bool>());
  }
  LinearTask task{"m", weight};
  task.pruned = before;
  EXPECT_TRUE(
      CountsOfRows((*(*MakeMethod(WandaStep(0.5)))->Compress({task}, &statistics))[0]).eq(32).all().item<bool>());
}

TEST(Magnitude, MatrixLosesTheSmallestOfAll) {
  for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const at::Tensor weight = RandomWeight(33, 65, dtype, 15);
    const LinearResult result = CompressOne(MagnitudeStep(0.5), weight, nullptr);
    EXPECT_EQ(result.pruned.sum().item<int64_t>(), 33 * 65 / 2);
    const at::Tensor size = weight.to(at::kFloat).abs();
    EXPECT_LE(size.masked_select(result.pruned).max().item<float>(),
              size.masked_select(result.pruned.logical_not()).min().item<float>());
    ExpectMasked(result, weight);
    EXPECT_EQ(result.method, "magnitude");
  }
}

TEST(Magnitude, EqualWeightsLoseExactlyTheCount) {
  const LinearResult result = CompressOne(MagnitudeStep(0.5), at::full({6, 10}, 0.5).to(at::kBFloat16), nullptr);
  EXPECT_EQ(result.pruned.sum().item<int64_t>(), 30);
  EXPECT_TRUE(result.pruned.narrow(0, 0, 3).all().item<bool>());
}

TEST(Pruning, NonFiniteNumbersAreRefused) {
  const InputStatistics statistics = RandomSquares(64, 16);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    for (at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
      at::Tensor weight = RandomWeight(20, 64, dtype, 17);
      weight[19][63].fill_(bad);
      for (const v1::Step& step :
           {WandaStep(0.5), WandaStep(0.5, "2:4"), WandaStep(0.5, "", true), MagnitudeStep(0.5)}) {
        const absl::Status status = StatusOf(step, weight, &statistics);
        EXPECT_EQ(ErrorReason(status), reason::kNonFiniteWeights) << status;
        EXPECT_NE(status.message().find("up_proj"), std::string::npos);
      }
    }
    at::Tensor squares = statistics.square_sum.clone();
    squares[5].fill_(bad);
    const InputStatistics broken = WithSquares(squares);
    EXPECT_EQ(ErrorReason(StatusOf(WandaStep(0.5), RandomWeight(8, 64, at::kFloat, 18), &broken)),
              reason::kNonFiniteActivations);
  }
}

TEST(Pruning, WidthsAndOptionsThatDoNotFitAreRefused) {
  const InputStatistics statistics = RandomSquares(66, 19);
  EXPECT_EQ(ErrorReason(StatusOf(WandaStep(0.5, "2:4"), RandomWeight(4, 66, at::kFloat, 20), &statistics)),
            reason::kInvalidRecipe);
  EXPECT_FALSE(StatusOf(WandaStep(0.5), RandomWeight(4, 64, at::kFloat, 20), &statistics).ok());
  EXPECT_FALSE(StatusOf(WandaStep(0.5), RandomWeight(4, 66, at::kFloat, 20), nullptr).ok());
  for (const v1::Step& step : {WandaStep(1.0), WandaStep(-0.1), WandaStep(0.5, "4:4"), WandaStep(0.5, "2:4", true),
                               MagnitudeStep(1.5), MagnitudeStep(0.5, "half")}) {
    EXPECT_EQ(ErrorReason(MakeMethod(step).status()), reason::kInvalidRecipe);
  }
}

}  // namespace
}  // namespace calipress::method
