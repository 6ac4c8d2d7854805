// AWQ's search and clipping against plain transcriptions in double, its limit cases, and odd weights and inputs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/method/quantize/awq/clip.h"
#include "compress/method/quantize/awq/output_error.h"
#include "compress/method/quantize/awq/search.h"
#include "tests/unit/compress/method/testing_block.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

using checkpoint::QuantizationScheme;

constexpr QuantizationScheme kFourBits{.bits = 4, .group_size = 16, .symmetric = false};

v1::Step AwqStep(const QuantizationScheme& scheme, v1::AwqSearch search, bool clip, int grid = 20) {
  v1::Step step;
  v1::Awq& options = *step.mutable_awq();
  options.set_bits(scheme.bits);
  options.set_group_size(static_cast<int>(scheme.group_size));
  options.set_symmetric(scheme.symmetric);
  options.set_search(search);
  options.set_grid(grid);
  options.set_clip(clip);
  return step;
}

absl::Status Transformed(TestingBlock& testing, const v1::Step& step) {
  auto transform = MakeTransform(step);
  EXPECT_TRUE(transform.ok()) << transform.status();
  return (*transform)->Apply(testing.block()).status();
}

LinearResult Quantized(const v1::Step& step, const at::Tensor& weight, const InputStatistics& statistics,
                       const std::string& role = "down_proj") {
  auto results = (*MakeMethod(step))->Compress({{"m." + role, weight, {}, 0, role}}, &statistics);
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? results->front() : LinearResult();
}

// The value that a loader makes of w on the grid of [low, high], which hold 0; in double but for the scale's dtype.
double RoundedIn(double w, double low, double high, const QuantizationScheme& scheme) {
  const double levels = std::ldexp(1.0, scheme.bits) - 1.0, least = -std::ldexp(1.0, scheme.bits - 1);
  const double reach = std::max(-low, high);
  if (reach == 0.0) return 0.0;
  const float scale = static_cast<float>(scheme.symmetric ? reach / (levels / 2.0) : (high - low) / levels);
  const double zero = scheme.symmetric ? 0.0 : std::clamp(std::nearbyint(least - low / scale), least, least + levels);
  return (std::clamp(std::nearbyint(w / scale) + zero, least, least + levels) - zero) * scale;
}

at::Tensor ReferenceRounded(const at::Tensor& weight, const QuantizationScheme& scheme) {
  at::Tensor rounded = weight.to(at::kDouble).clone();
  auto values = rounded.accessor<double, 2>();
  const int64_t width = weight.size(1) / scheme.Groups(weight.size(1));
  for (int64_t i = 0; i < weight.size(0); ++i) {
    for (int64_t first = 0; first < weight.size(1); first += width) {
      double low = 0.0, high = 0.0;
      for (int64_t j = first; j < first + width; ++j) {
        low = std::min(low, values[i][j]);
        high = std::max(high, values[i][j]);
      }
      for (int64_t j = first; j < first + width; ++j) values[i][j] = RoundedIn(values[i][j], low, high, scheme);
    }
  }
  return rounded;
}

struct ReferenceSearch {
  double exponent = -1.0;  // the identity
  double error = 0.0, identity_error = 0.0;
};

// Search of AWQ's paper and of AutoAWQ, as methods.md 6.3 has it, of the weights of one input.
ReferenceSearch SearchInDouble(const std::vector<at::Tensor>& weights, const InputStatistics& statistics, bool duo,
                               const QuantizationScheme& scheme) {
  const at::Tensor all = at::cat(weights).to(at::kDouble);
  const int64_t rows = all.size(0), in = all.size(1), width = in / scheme.Groups(in);
  const auto error_of = [&](const std::vector<double>& scales) {
    const at::Tensor s = at::tensor(scales, at::kDouble);
    return Form(all.sub(ReferenceRounded(all.mul(s), scheme).div(s)), statistics.second_moment);
  };
  std::vector<double> inputs(in), means(in, 0.0);
  const auto w = all.accessor<double, 2>();
  for (int64_t j = 0; j < in; ++j) {
    inputs[j] = statistics.absolute_sum[j].item<double>() / static_cast<double>(statistics.tokens);
    for (int64_t i = 0; i < rows; ++i) {
      double largest = 0.0;
      for (int64_t k = j / width * width; k < (j / width + 1) * width; ++k) {
        largest = std::max(largest, std::fabs(w[i][k]));
      }
      means[j] += std::fabs(w[i][j]) / (largest + 1e-6) / static_cast<double>(rows);
    }
  }
  ReferenceSearch best;
  best.error = best.identity_error = error_of(std::vector<double>(in, 1.0));
  for (int step = 0; step < 20; ++step) {
    const double r = step / 20.0;
    std::vector<double> scales(in);
    double least = std::numeric_limits<double>::infinity(), most = 0.0;
    for (int64_t j = 0; j < in; ++j) {
      scales[j] = std::max(1e-4, std::pow(inputs[j], r) / (duo ? std::pow(means[j], 1.0 - r) + 1e-4 : 1.0));
      if (inputs[j] == 0.0) continue;
      least = std::min(least, scales[j]);
      most = std::max(most, scales[j]);
    }
    for (int64_t j = 0; j < in; ++j) scales[j] = inputs[j] == 0.0 ? 1.0 : scales[j] / std::sqrt(least * most);
    const double error = error_of(scales);
    if (error >= best.error) continue;
    best.error = error;
    best.exponent = r;
  }
  return best;
}

transform::InputGroup Group(TestingBlock& testing, int input) {
  auto group = transform::GroupOf(testing.block(), input);
  EXPECT_TRUE(group.ok() && group->has_value());
  return **group;
}

// Asymmetric: the largest weight of a symmetric group lies at the middle between two codes, and falls to either side.
TEST(Search, IsTheTranscription) {
  for (const bool duo : {false, true}) {
    for (const uint64_t seed : {1, 2, 3}) {
      TestingBlock problem({}, at::kFloat, seed);
      for (const int input : {0, 2, 3}) {
        const QuantizationScheme scheme{.bits = 4, .group_size = input == 0 ? -1 : 16, .symmetric = false};
        std::vector<at::Tensor> weights;
        const transform::InputGroup group = Group(problem, input);
        for (const TransformLinear* linear : group.consumers) weights.push_back(linear->weight);
        const auto expected = SearchInDouble(weights, problem.statistics(input), duo, scheme);
        const auto found = awq::SearchScales(group, problem.statistics(input), {scheme, duo, 20});
        SCOPED_TRACE(testing::Message() << "duo " << duo << ", seed " << seed << ", input " << input);
        EXPECT_NEAR(found.identity_error / expected.identity_error, 1.0, 2e-3);
        EXPECT_NEAR(found.error / expected.error, 1.0, 2e-3);
        EXPECT_EQ(found.scales.defined() ? found.exponent : -1.0, expected.exponent);
      }
    }
  }
}

TEST(Search, IsNeverWorseThanTheIdentityInWhatComesOut) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto search : {v1::AWQ_SEARCH_ACTIVATIONS, v1::AWQ_SEARCH_DUO}) {
      for (const uint64_t seed : {4, 5}) {
        const v1::Step step = AwqStep(kFourBits, search, /*clip=*/false);
        TestingBlock testing({.bias = true}, dtype, seed), plain({.bias = true}, dtype, seed);
        ASSERT_TRUE(Transformed(testing, step).ok());
        double ours[4] = {}, theirs[4] = {};
        for (const TransformLinear& linear : testing.block().linears) {
          const auto scaled = Quantized(step, linear.weight, testing.statistics(linear.input), linear.role);
          ours[linear.input] += Form(linear.weight.to(at::kDouble).sub(scaled.weight.to(at::kDouble)),
                                     testing.statistics(linear.input).second_moment);
          const at::Tensor& weight = plain.linear(linear.role).weight;
          const auto rounded = CompressOne(RtnStep(4, 16, false), weight, nullptr);
          theirs[linear.input] += Form(weight.to(at::kDouble).sub(rounded.weight.to(at::kDouble)),
                                       plain.statistics(linear.input).second_moment);
        }
        // The inputs differ in size by far, which is what scales are for. Producers' own rounding is not in the error.
        for (int input = 0; input < 4; ++input) EXPECT_LT(ours[input], 1.02 * theirs[input]) << input << dtype;
        EXPECT_LT(ours[0], 0.9 * theirs[0]);
        const at::Tensor output = plain.Run().output;
        EXPECT_LT(testing.Run().output.sub(output).norm().item<double>(),
                  (dtype == at::kFloat ? 1e-5 : 1e-2) * output.norm().item<double>());
      }
    }
  }
}

TEST(Search, TargetedLinearsAloneAreWeighed) {
  TestingBlock testing({}, at::kFloat, 6), original({}, at::kFloat, 6);
  testing.linear("q_proj").targeted = testing.linear("v_proj").targeted = false;
  const auto expected =
      SearchInDouble({testing.linear("k_proj").weight}, testing.statistics(0), /*duo=*/true, kFourBits);
  const auto found = awq::SearchScales(Group(testing, 0), testing.statistics(0), {kFourBits, true, 20});
  EXPECT_EQ(found.exponent, expected.exponent);
  ASSERT_TRUE(Transformed(testing, AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, false)).ok());
  EXPECT_FALSE(at::equal(testing.linear("q_proj").weight, original.linear("q_proj").weight));
  // A group without targets is not looked at.
  TestingBlock down({}, at::kFloat, 6);
  for (TransformLinear& linear : down.block().linears) linear.targeted = linear.role == "o_proj";
  for (const int input : {0, 2, 3}) down.statistics(input) = {};
  ASSERT_TRUE(Transformed(down, AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, false)).ok());
  EXPECT_TRUE(at::equal(down.block().input_norm, original.block().input_norm));
  EXPECT_FALSE(at::equal(down.linear("v_proj").weight, original.linear("v_proj").weight));
}

TEST(Awq, ExponentZeroWithoutClippingIsRoundToNearest) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const QuantizationScheme& scheme : {kFourBits, QuantizationScheme{8, -1, true}}) {
      const v1::Step step = AwqStep(scheme, v1::AWQ_SEARCH_ACTIVATIONS, /*clip=*/false, /*grid=*/1);
      TestingBlock testing({}, dtype, 7), original({}, dtype, 7);
      ASSERT_TRUE(Transformed(testing, step).ok());
      for (const TransformLinear& linear : testing.block().linears) {
        EXPECT_TRUE(linear.weight.equal(original.linear(linear.role).weight));
        const auto ours = Quantized(step, linear.weight, testing.statistics(linear.input));
        const auto rtn = CompressOne(RtnStep(scheme.bits, scheme.group_size, scheme.symmetric), linear.weight, nullptr);
        EXPECT_TRUE(at::equal(ours.quantized->codes, rtn.quantized->codes));
        EXPECT_TRUE(at::equal(ours.quantized->scales, rtn.quantized->scales));
        EXPECT_TRUE(at::equal(ours.weight, rtn.weight));
      }
      EXPECT_TRUE(at::equal(testing.block().input_norm, original.block().input_norm));
    }
  }
}

TEST(Awq, ItsObserverIsRoundToNearests) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(100, 64, 60));
  const at::Tensor weight = RandomWeight(20, 64, at::kBFloat16, 61);
  v1::Step awq = AwqStep(kFourBits, v1::AWQ_SEARCH_ACTIVATIONS, /*clip=*/false, /*grid=*/1),
           rtn = RtnStep(4, 16, false);
  const auto wide = Quantized(awq, weight, statistics);
  awq.mutable_awq()->set_observer(v1::OBSERVER_MSE);
  rtn.mutable_rtn()->set_observer(v1::OBSERVER_MSE);
  const auto shrunk = Quantized(awq, weight, statistics);
  EXPECT_TRUE(at::equal(shrunk.weight, CompressOne(rtn, weight, nullptr).weight));
  EXPECT_FALSE(at::equal(shrunk.weight, wide.weight));
  // Clipped grids must be better than these.
  awq.mutable_awq()->set_clip(true);
  EXPECT_LE(Quantized(awq, weight, statistics).relative_error, shrunk.relative_error);
}

TEST(Awq, DeadColumnsKeepOneAndDoNotCount) {
  const at::Tensor means = at::tensor({0.0, 0.5, 4.0, 0.0, 1.0}, at::kDouble);
  const at::Tensor scales = awq::CandidateScales(means, at::Tensor(), 0.5);
  EXPECT_EQ(scales[0].item<float>(), 1.0f);
  EXPECT_EQ(scales[3].item<float>(), 1.0f);
  EXPECT_NEAR(scales[1].item<double>() * scales[2].item<double>(), 1.0, 1e-6);
  EXPECT_NEAR(scales[2].item<double>() / scales[1].item<double>(), std::sqrt(8.0), 1e-5);
  EXPECT_TRUE(awq::CandidateScales(means, at::Tensor(), 0.0).eq(1.0).all().item<bool>());
  const at::Tensor nothing = at::zeros({5}, at::kDouble);
  EXPECT_TRUE(awq::CandidateScales(nothing, at::ones({5}, at::kDouble), 0.5).eq(1.0).all().item<bool>());

  TestingBlock testing({}, at::kBFloat16, 8);
  testing.block().input_norm.narrow(0, 3, 4).zero_();
  for (const char* role : {"q_proj", "k_proj", "v_proj"}) testing.linear(role).weight[2].zero_();
  testing.Measure();
  const at::Tensor output = testing.Run().output;
  ASSERT_TRUE(Transformed(testing, AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true)).ok());
  EXPECT_TRUE(testing.block().input_norm.narrow(0, 3, 4).eq(0.0).all().item<bool>());
  EXPECT_LT(testing.Run().output.sub(output).norm().item<double>(), 1e-2 * output.norm().item<double>());
  const auto result =
      Quantized(AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true), testing.linear("v_proj").weight, testing.statistics(0));
  EXPECT_EQ(result.dead_columns, 4);
  EXPECT_TRUE(result.weight[2].eq(0.0).all().item<bool>());

  // Nothing at all goes in: every candidate has the error 0, and the identity is kept.
  TestingBlock silent({}, at::kFloat, 9);
  silent.statistics(0) = TestingBlock::AllStatistics(at::zeros({20, 64}));
  const at::Tensor norm = silent.block().input_norm;
  ASSERT_TRUE(Transformed(silent, AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true)).ok());
  EXPECT_TRUE(silent.block().input_norm.is_same(norm));
}

TEST(Clip, RangesAreThoseOfAPlainSearch) {
  for (const bool symmetric : {false, true}) {
    const QuantizationScheme scheme{.bits = 4, .group_size = 16, .symmetric = symmetric};
    const InputStatistics statistics = StatisticsOf(CorrelatedInputs(100, 48, 10));
    at::Tensor weight = RandomWeight(24, 48, at::kFloat, 11);
    weight.select(1, 5).mul_(8.0);  // outliers, which are worth clipping
    const Grid grid = awq::FitClippedGrid(weight, scheme, statistics.second_moment);
    const at::Tensor moment = statistics.second_moment.to(at::kDouble), wide = weight.to(at::kDouble);
    int clipped = 0, agreed = 0;
    for (int64_t i = 0; i < 24; ++i) {
      for (int64_t g = 0; g < 3; ++g) {
        const at::Tensor row = wide[i].narrow(0, 16 * g, 16);
        const at::Tensor block = moment.narrow(0, 16 * g, 16).narrow(1, 16 * g, 16);
        double least = std::numeric_limits<double>::infinity(), scale = 0.0;
        for (int step = 0; step < 10; ++step) {
          const double c = row.abs().max().item<double>() * (1.0 - step / 20.0);
          const double low = std::max(-c, std::min(0.0, row.min().item<double>()));
          const double high = std::min(c, std::max(0.0, row.max().item<double>()));
          at::Tensor change = at::empty({16}, at::kDouble);
          for (int64_t j = 0; j < 16; ++j) {
            const double w = row[j].item<double>();
            change[j] = w - RoundedIn(w, low, high, scheme);
          }
          const double error = at::dot(change, at::mv(block, change)).item<double>();
          if (error >= least) continue;
          least = error;
          scale = symmetric ? std::max(-low, high) / 7.5 : (high - low) / 15.0;
          clipped += step > 0;
        }
        agreed += std::fabs(grid.scales[i][g].item<double>() / scale - 1.0) < 1e-5;
      }
    }
    EXPECT_GT(clipped, 20);
    // Of 72. Where both ends are clipped, and at the largest weight of a symmetric group, c lies at the middle between
    // two codes, and falls to either side.
    EXPECT_GE(agreed, 60);
  }
}

TEST(Clip, IsKeptOnlyWhereTheWholeErrorIsLess) {
  int better = 0;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (uint64_t seed = 20; seed < 30; ++seed) {
      const InputStatistics statistics = StatisticsOf(CorrelatedInputs(30, 64, seed));
      const at::Tensor weight = RandomWeight(20, 64, dtype, seed + 50);
      const auto plain = Quantized(AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, false), weight, statistics);
      const auto clipped = Quantized(AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true), weight, statistics);
      EXPECT_LE(clipped.relative_error, plain.relative_error);
      better += clipped.relative_error < plain.relative_error;
      const at::Tensor change = weight.to(at::kDouble).sub(clipped.weight.to(at::kDouble));
      const double form = Form(change, statistics.second_moment) / Form(weight, statistics.second_moment);
      EXPECT_NEAR(clipped.relative_error / form, 1.0, 1e-3);
      for (const char* role : {"q_proj", "k_proj"}) {
        const auto kept = Quantized(AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true), weight, statistics, role);
        EXPECT_TRUE(at::equal(kept.weight, plain.weight));
      }
    }
  }
  EXPECT_GT(better, 15);
}

TEST(Awq, PrunedWeightsStayZero) {
  const InputStatistics statistics = StatisticsOf(CorrelatedInputs(100, 64, 40));
  const at::Tensor weight = RandomWeight(20, 64, at::kBFloat16, 41);
  LinearTask task{"m.down_proj", weight, RandomNormal({20, 64}, 42).gt(0.0), 0, "down_proj"};
  const auto results = (*MakeMethod(AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true)))->Compress({task}, &statistics);
  ASSERT_TRUE(results.ok());
  EXPECT_TRUE(results->front().weight.masked_select(task.pruned).eq(0.0).all().item<bool>());
}

TEST(OutputError, IsTheQuadraticForm) {
  for (const int64_t columns : {16, 256, 300, 700}) {
    const at::Tensor moment = StatisticsOf(CorrelatedInputs(200, columns, 50)).second_moment;
    const at::Tensor weight = RandomNormal({600, columns}, 51), other = weight.to(at::kBFloat16);
    EXPECT_NEAR(awq::OutputError(weight, {}, moment) / Form(weight, moment), 1.0, 1e-5);
    const at::Tensor change = weight.to(at::kDouble).sub(other.to(at::kDouble));
    EXPECT_NEAR(awq::OutputError(weight, other, moment) / Form(change, moment), 1.0, 1e-4);
  }
}

TEST(Awq, WhatIsNotFiniteOrDoesNotFitIsRefused) {
  const v1::Step step = AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    TestingBlock weights({}, at::kBFloat16, 60);
    weights.linear("gate_proj").weight[0][0] = bad;
    const absl::Status status = Transformed(weights, step);
    EXPECT_EQ(ErrorReason(status), reason::kNonFiniteWeights);
    EXPECT_NE(status.message().find("gate_proj"), std::string::npos) << status;
    auto results = (*MakeMethod(step))->Compress({{"m.up_proj", weights.linear("gate_proj").weight}}, nullptr);
    EXPECT_EQ(ErrorReason(results.status()), reason::kNonFiniteWeights);
    TestingBlock inputs({}, at::kBFloat16, 60);
    inputs.statistics(1).second_moment[5][5] = bad;
    EXPECT_EQ(ErrorReason(Transformed(inputs, step)), reason::kNonFiniteActivations);
  }
  TestingBlock missing({}, at::kFloat, 61);
  missing.statistics(2).absolute_sum = at::Tensor();
  EXPECT_EQ(ErrorReason(Transformed(missing, step)), reason::kInternal);
  missing.statistics(0).second_moment = at::Tensor();
  EXPECT_EQ(ErrorReason(Transformed(missing, step)), reason::kInternal);
  TestingBlock narrow({}, at::kFloat, 61);
  EXPECT_EQ(ErrorReason(Transformed(narrow, AwqStep({4, 24, false}, v1::AWQ_SEARCH_DUO, true))),
            reason::kInvalidRecipe);
  EXPECT_EQ(ErrorReason(MakeTransform(AwqStep(kFourBits, v1::AWQ_SEARCH_DUO, true, 0)).status()),
            reason::kInvalidRecipe);
  EXPECT_EQ(ErrorReason(MakeMethod(AwqStep({5, 16, false}, v1::AWQ_SEARCH_DUO, true)).status()),
            reason::kInvalidRecipe);
}

}  // namespace
}  // namespace calipress::method
