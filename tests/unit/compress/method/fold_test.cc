// Folding scales into a block: what it computes stays, the statistics follow, and channels that cannot be scaled are
// not.
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/method/transform/fold.h"
#include "tests/unit/compress/method/testing_block.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method::transform {
namespace {

double Distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  return a.to(at::kDouble).sub(wide).norm().item<double>() / wide.norm().item<double>();
}

InputGroup Group(TestingBlock& testing, int input) {
  auto group = GroupOf(testing.block(), input);
  EXPECT_TRUE(group.ok() && group->has_value()) << input;
  return **group;
}

at::Tensor RandomScales(int64_t count, uint64_t seed) { return RandomNormal({count}, seed).exp(); }

TEST(Fold, TheBlockComputesTheSame) {
  for (const bool bias : {false, true}) {
    for (const int64_t kv_heads : {4, 2, 1}) {
      TestingBlock testing({.kv_heads = kv_heads, .bias = bias}, at::kFloat, 1);
      testing.linear("k_proj").targeted = false;  // folded into all the same
      const auto before = testing.Run();
      for (int input = 0; input < 4; ++input) {
        const auto group = GroupOf(testing.block(), input);
        ASSERT_TRUE(group.ok());
        EXPECT_EQ(group->has_value(), input != 1 || kv_heads == 4);
        if (!group->has_value()) continue;
        const at::Tensor scales = RandomScales((*group)->largest_column.size(0), 2 + input);
        Fold(**group, scales, testing.statistics(input));
        const auto after = testing.Run();
        EXPECT_LT(Distance(after.output, before.output), 1e-5) << input << " " << kv_heads << " " << bias;
        EXPECT_LT(Distance(after.inputs[input].mul(scales.to(at::kDouble)), before.inputs[input]), 1e-5);
      }
    }
  }
}

TEST(Fold, StatisticsAreThoseOfTheFoldedBlock) {
  TestingBlock testing({.bias = true}, at::kFloat, 3);
  for (int input = 0; input < 4; ++input) {
    const InputGroup group = Group(testing, input);
    Fold(group, RandomScales(group.largest_column.size(0), 4 + input), testing.statistics(input));
  }
  const auto values = testing.Run();
  for (int input = 0; input < 4; ++input) {
    const InputStatistics expected = TestingBlock::AllStatistics(values.inputs[input]);
    const InputStatistics& found = testing.statistics(input);
    EXPECT_LT(Distance(found.second_moment, expected.second_moment), 1e-5);
    EXPECT_TRUE(at::equal(found.second_moment, found.second_moment.t()));
    EXPECT_LT(Distance(found.square_sum, expected.square_sum), 1e-5);
    EXPECT_LT(Distance(found.absolute_sum, expected.absolute_sum), 1e-5);
    EXPECT_LT(Distance(found.absolute_max, expected.absolute_max), 1e-5);
    EXPECT_LT(Distance(found.sum, expected.sum), 1e-4);
    EXPECT_LT(Distance(found.variance_sum, expected.variance_sum), 1e-5);
    EXPECT_LT(Distance(found.sample, expected.sample), 1e-5);
    EXPECT_EQ(found.tokens, expected.tokens);
  }
}

TEST(Fold, TheRoundingOfANormCancels) {
  TestingBlock testing({}, at::kBFloat16, 5);
  const at::Tensor norm = testing.block().input_norm.to(at::kFloat);
  const InputGroup group = Group(testing, 0);
  const at::Tensor asked = RandomScales(64, 6), taken = EffectiveScales(group, asked);
  EXPECT_FALSE(at::equal(asked, taken));
  EXPECT_TRUE(at::allclose(asked, taken, 1.0 / 128));
  const at::Tensor weight = testing.linear("q_proj").weight;
  Fold(group, asked, testing.statistics(0));
  EXPECT_TRUE(at::allclose(testing.block().input_norm.to(at::kFloat).mul(taken), norm, 1e-6, 0.0));
  EXPECT_TRUE(at::equal(testing.linear("q_proj").weight, ScaledColumns(weight, taken)));
  EXPECT_EQ(testing.block().input_norm.scalar_type(), at::kBFloat16);
}

TEST(Fold, OnesChangeNothing) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    TestingBlock testing({.bias = true}, dtype, 7), untouched({.bias = true}, dtype, 7);
    for (int input = 0; input < 4; ++input) {
      const InputGroup group = Group(testing, input);
      Fold(group, at::ones_like(group.largest_column), testing.statistics(input));
    }
    for (const char* role : {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}) {
      EXPECT_TRUE(at::equal(testing.linear(role).weight, untouched.linear(role).weight)) << role;
      EXPECT_TRUE(at::equal(testing.linear(role).bias, untouched.linear(role).bias)) << role;
    }
    EXPECT_TRUE(at::equal(testing.block().input_norm, untouched.block().input_norm));
  }
}

TEST(Fold, ChannelsThatCannotBeScaledKeepOne) {
  TestingBlock testing({}, at::kHalf, 8);
  testing.block().input_norm[0] = 0.0;
  testing.linear("k_proj").weight[1][1] = 30000.0;
  const InputGroup group = Group(testing, 0);
  at::Tensor asked = at::full({64}, 2.0f);
  asked[1] = 16.0;  // 30000 * 16 is above what f16 holds
  asked[2] = 1e-7;  // and so is g / 1e-7
  asked[3] = std::numeric_limits<float>::quiet_NaN();
  asked[4] = std::numeric_limits<float>::infinity();
  asked[5] = 0.0;
  asked[6] = -1.0;
  asked[7] = 1e9;  // g / 1e9 is zero in f16
  const at::Tensor taken = EffectiveScales(group, asked);
  EXPECT_TRUE(taken.narrow(0, 0, 8).eq(1.0).all().item<bool>()) << taken.narrow(0, 0, 8);
  EXPECT_TRUE(taken.narrow(0, 8, 56).eq(2.0).all().item<bool>());
  const at::Tensor norm = testing.block().input_norm.clone();
  Fold(group, asked, testing.statistics(0));
  EXPECT_TRUE(at::equal(testing.block().input_norm.narrow(0, 0, 8), norm.narrow(0, 0, 8)));
  EXPECT_TRUE(at::isfinite(testing.linear("k_proj").weight).all().item<bool>());
  EXPECT_TRUE(at::isfinite(testing.statistics(0).second_moment).all().item<bool>());

  testing.linear("up_proj").weight[9].fill_(60000.0);
  const InputGroup down = Group(testing, 3);
  EXPECT_EQ(EffectiveScales(down, at::full({96}, 0.5f))[9].item<float>(), 1.0f);
}

TEST(Fold, ALinearWithNaNIsNamed) {
  TestingBlock testing({}, at::kBFloat16, 9);
  testing.linear("up_proj").weight[4][5] = std::numeric_limits<float>::quiet_NaN();
  for (const int input : {2, 3}) {
    const auto group = GroupOf(testing.block(), input);
    EXPECT_EQ(ErrorReason(group.status()), reason::kNonFiniteWeights);
    EXPECT_NE(group.status().message().find("up_proj.weight of block 3"), std::string::npos) << group.status();
  }
}

}  // namespace
}  // namespace calipress::method::transform
