// SmoothQuant's scales against its formula, and the channels that the formula does not fit.
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "tests/unit/compress/method/testing_block.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

absl::Status Smooth(TestingBlock& testing, double alpha) {
  v1::Step step;
  step.mutable_smoothquant()->set_alpha(alpha);
  auto transform = MakeTransform(step);
  EXPECT_TRUE(transform.ok()) << transform.status();
  EXPECT_EQ(*MakeMethod(step), nullptr);
  return (*transform)->Apply(testing.block()).status();
}

TEST(SmoothQuant, ScalesAreTheFormula) {
  for (const double alpha : {0.0, 0.3, 0.5, 1.0}) {
    TestingBlock testing({.bias = true}, at::kFloat, 1), original({.bias = true}, at::kFloat, 1);
    ASSERT_TRUE(Smooth(testing, alpha).ok());
    for (const char* first : {"q_proj", "gate_proj"}) {
      const bool attention = first[0] == 'q';
      const int input = attention ? 0 : 2;
      for (int64_t j = 0; j < 64; ++j) {
        double weight = 0.0;
        for (const TransformLinear& linear : original.block().linears) {
          if (linear.input == input) {
            weight = std::max(weight, linear.weight.select(1, j).abs().max().item<double>());
          }
        }
        const double largest = original.statistics(input).absolute_max[j].item<double>();
        const double scale = std::pow(largest, alpha) / std::pow(weight, 1.0 - alpha);
        const at::Tensor &norm = attention ? testing.block().input_norm : testing.block().post_attention_norm,
                         &before = attention ? original.block().input_norm : original.block().post_attention_norm;
        EXPECT_NEAR(norm[j].item<double>() * scale / before[j].item<double>(), 1.0, 1e-5);
        EXPECT_TRUE(at::allclose(testing.linear(first).weight.select(1, j),
                                 original.linear(first).weight.select(1, j).mul(scale), 1e-5));
        EXPECT_NEAR(testing.statistics(input).absolute_max[j].item<double>() * scale / largest, 1.0, 1e-5);
      }
    }
    for (const char* kept : {"o_proj", "down_proj"}) {
      EXPECT_TRUE(at::equal(testing.linear(kept).weight, original.linear(kept).weight));
    }
    const at::Tensor output = original.Run().output;
    EXPECT_LT(testing.Run().output.sub(output).norm().item<double>(), 1e-5 * output.norm().item<double>());
  }
}

TEST(SmoothQuant, HalfMakesInputsAndWeightsEquallyLarge) {
  TestingBlock testing({}, at::kFloat, 2);
  ASSERT_TRUE(Smooth(testing, 0.5).ok());
  at::Tensor weights = at::zeros({64});
  for (const char* role : {"q_proj", "k_proj", "v_proj"}) {
    weights = at::maximum(weights, testing.linear(role).weight.abs().amax(0));
  }
  EXPECT_TRUE(at::allclose(weights, testing.statistics(0).absolute_max, 1e-4));
}

TEST(SmoothQuant, ChannelsWithoutInputStayAndUntargetedGroupsToo) {
  TestingBlock testing({}, at::kBFloat16, 3), original({}, at::kBFloat16, 3);
  testing.statistics(0).absolute_max[7] = 0.0;
  testing.linear("gate_proj").targeted = testing.linear("up_proj").targeted = false;
  testing.statistics(2) = {};  // nobody measured what nobody wants
  ASSERT_TRUE(Smooth(testing, 0.5).ok());
  EXPECT_TRUE(at::equal(testing.block().input_norm[7], original.block().input_norm[7]));
  EXPECT_FALSE(at::equal(testing.block().input_norm, original.block().input_norm));
  EXPECT_TRUE(at::equal(testing.linear("v_proj").weight.select(1, 7), original.linear("v_proj").weight.select(1, 7)));
  EXPECT_TRUE(at::equal(testing.block().post_attention_norm, original.block().post_attention_norm));
  EXPECT_TRUE(at::equal(testing.linear("up_proj").weight, original.linear("up_proj").weight));
}

TEST(SmoothQuant, ColumnsOfZerosStayFinite) {
  TestingBlock testing({}, at::kHalf, 4);
  for (const char* role : {"q_proj", "k_proj", "v_proj"}) testing.linear(role).weight.select(1, 5).zero_();
  const at::Tensor before = testing.Run().output;
  ASSERT_TRUE(Smooth(testing, 0.5).ok());
  EXPECT_TRUE(at::isfinite(testing.block().input_norm).all().item<bool>());
  EXPECT_LT(testing.Run().output.sub(before).norm().item<double>(), 1e-2 * before.norm().item<double>());
}

TEST(SmoothQuant, WhatIsNotFiniteOrMissingIsRefused) {
  TestingBlock weights({}, at::kFloat, 5);
  weights.linear("k_proj").weight[0][0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ErrorReason(Smooth(weights, 0.5)), reason::kNonFiniteWeights);
  TestingBlock inputs({}, at::kFloat, 5);
  inputs.statistics(2).absolute_max[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ErrorReason(Smooth(inputs, 0.5)), reason::kNonFiniteActivations);
  TestingBlock missing({}, at::kFloat, 5);
  missing.statistics(0) = {};
  EXPECT_EQ(ErrorReason(Smooth(missing, 0.5)), reason::kInternal);
  for (const double alpha : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    v1::Step step;
    step.mutable_smoothquant()->set_alpha(alpha);
    EXPECT_EQ(ErrorReason(MakeTransform(step).status()), reason::kInvalidRecipe);
  }
}

}  // namespace
}  // namespace calipress::method
