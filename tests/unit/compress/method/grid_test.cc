#include "compress/method/quantize/grid.h"

#include <cmath>
#include <limits>
#include <string>
#include <tuple>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/method/method.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

using checkpoint::QuantizationScheme;

at::Tensor RoundTrip(const at::Tensor& weight, const QuantizationScheme& scheme) {
  Grid grid = FitMinMaxGrid(weight, scheme);
  return Dequantize({scheme, NearestCodes(weight, grid, scheme), grid.scales, grid.zero_points});
}

class GridTest : public testing::TestWithParam<std::tuple<int, int64_t, bool, at::ScalarType>> {
 protected:
  QuantizationScheme scheme() const {
    return {std::get<0>(GetParam()), std::get<1>(GetParam()), std::get<2>(GetParam())};
  }
  at::ScalarType dtype() const { return std::get<3>(GetParam()); }
};

// The formulas of compressed-tensors' min-max observer, in ATen and double.
TEST_P(GridTest, FollowsTheObserver) {
  at::Tensor weight = RandomWeight(13, 96, dtype(), 3);
  const int64_t groups = scheme().Groups(96);
  at::Tensor wide = weight.to(at::kDouble).view({13, groups, 96 / groups});
  at::Tensor low = wide.amin(2).clamp_max(0.0), high = wide.amax(2).clamp_min(0.0);
  const double levels = std::ldexp(1.0, scheme().bits) - 1, half = std::ldexp(1.0, scheme().bits - 1);
  Grid grid = FitMinMaxGrid(weight, scheme());
  ASSERT_EQ(grid.scales.sizes(), low.sizes());
  ASSERT_EQ(grid.scales.scalar_type(), dtype());
  at::Tensor exact = scheme().symmetric ? at::maximum(low.neg(), high).div(levels / 2) : high.sub(low).div(levels);
  const double precision = dtype() == at::kBFloat16 ? 1.0 / 256 : dtype() == at::kHalf ? 1.0 / 2048 : 1e-6;
  at::Tensor relative = grid.scales.to(at::kDouble).div(exact).sub(1.0).abs();
  EXPECT_LE(relative.max().item<double>(), precision);
  ASSERT_EQ(grid.zero_points.defined(), !scheme().symmetric);
  if (!scheme().symmetric) {
    at::Tensor zero = at::round(low.div(grid.scales.to(at::kDouble)).neg().sub(half)).clamp(-half, half - 1);
    EXPECT_LE(grid.zero_points.to(at::kDouble).sub(zero).abs().max().item<double>(), 0.0);
  }
}

TEST_P(GridTest, CodesAreNearestAndInRange) {
  at::Tensor weight = RandomWeight(9, 96, dtype(), 4);
  Grid grid = FitMinMaxGrid(weight, scheme());
  at::Tensor codes = NearestCodes(weight, grid, scheme());
  const int64_t groups = grid.scales.size(1);
  const int64_t half = int64_t{1} << (scheme().bits - 1);
  EXPECT_GE(codes.min().item<int64_t>(), -half);
  EXPECT_LE(codes.max().item<int64_t>(), half - 1);
  at::Tensor scales = grid.scales.to(at::kDouble).unsqueeze(2);
  at::Tensor zeros =
      grid.zero_points.defined() ? grid.zero_points.to(at::kDouble).unsqueeze(2) : at::zeros_like(scales);
  at::Tensor wide = weight.to(at::kDouble).view({9, groups, 96 / groups});
  // The largest weight of a symmetric group lies at half a step: divided in fp32, as said in the header.
  at::Tensor quotient = wide.to(at::kFloat).div(scales.to(at::kFloat)).to(at::kDouble);
  at::Tensor expected = at::round(quotient).add(zeros).clamp(-half, half - 1).view({9, 96});
  EXPECT_TRUE(at::equal(codes.to(at::kDouble), expected));
  // No further from the weight than the rounding of a scale allows.
  at::Tensor error = RoundTrip(weight, scheme()).to(at::kDouble).view_as(wide).sub(wide).abs().div(scales);
  EXPECT_LE(error.max().item<double>(), scheme().symmetric ? 0.5 + half / 256.0 + 0.01 : 0.5 + 2 * half / 128.0);
}

// compressed-tensors: (codes.to(dtype) - zero.to(dtype)) * scale, every step in the scale's dtype.
TEST_P(GridTest, DequantizeIsTheLoadersToTheBit) {
  at::Tensor weight = RandomWeight(9, 96, dtype(), 5).mul(3.0);
  Grid grid = FitMinMaxGrid(weight, scheme());
  at::Tensor codes = NearestCodes(weight, grid, scheme());
  const int64_t groups = grid.scales.size(1);
  at::Tensor loader = codes.to(dtype()).view({9, groups, 96 / groups});
  if (grid.zero_points.defined()) loader = loader.sub(grid.zero_points.to(dtype()).unsqueeze(2));
  loader = loader.mul(grid.scales.unsqueeze(2)).view({9, 96});
  EXPECT_TRUE(at::equal(Dequantize({scheme(), codes, grid.scales, grid.zero_points}), loader));
}

INSTANTIATE_TEST_SUITE_P(Schemes, GridTest,
                         testing::Combine(testing::Values(2, 3, 4, 8), testing::Values<int64_t>(32, 8, -1),
                                          testing::Bool(), testing::Values(at::kBFloat16, at::kHalf, at::kFloat)),
                         [](const auto& info) {
                           const int64_t group = std::get<1>(info.param);
                           return std::to_string(std::get<0>(info.param)) + "bit_" +
                                  (group < 0 ? "channel" : "group" + std::to_string(group)) +
                                  (std::get<2>(info.param) ? "_symmetric_" : "_asymmetric_") +
                                  c10::toString(std::get<3>(info.param));
                         });

class OddGroupTest : public testing::TestWithParam<std::tuple<bool, at::ScalarType>> {
 protected:
  QuantizationScheme scheme() const { return {4, 4, std::get<0>(GetParam())}; }
  at::ScalarType dtype() const { return std::get<1>(GetParam()); }
};

TEST_P(OddGroupTest, ZerosStayZeros) {
  at::Tensor weight = at::zeros({2, 8}, dtype());
  weight[1].narrow(0, 4, 4).fill_(0.5);
  Grid grid = FitMinMaxGrid(weight, scheme());
  EXPECT_EQ(grid.scales[0][0].item<double>(), 1.0);
  at::Tensor result = RoundTrip(weight, scheme());
  EXPECT_EQ(result[0].abs().max().item<double>(), 0.0);
  EXPECT_EQ(result[1].narrow(0, 0, 4).abs().max().item<double>(), 0.0);
}

TEST_P(OddGroupTest, ConstantsComeBackClose) {
  for (double value : {0.75, -0.75}) {
    at::Tensor weight = at::full({1, 8}, value, dtype());
    EXPECT_NEAR(RoundTrip(weight, scheme()).min().item<double>(), value, 0.75 / 14);
    EXPECT_NEAR(RoundTrip(weight, scheme()).max().item<double>(), value, 0.75 / 14);
  }
}

TEST_P(OddGroupTest, ExtremesGivePositiveFiniteScalesAndFiniteWeights) {
  const double largest = dtype() == at::kHalf ? 65504.0 : dtype() == at::kBFloat16 ? 3.38e38 : 3.4e38;
  const double smallest = dtype() == at::kHalf ? 6e-8 : dtype() == at::kBFloat16 ? 1e-40 : 1e-45;
  for (double value : {largest, -largest, smallest, -smallest, 1e-6}) {
    at::Tensor weight = at::zeros({1, 8}, dtype());
    weight.select(1, 3).fill_(value);
    weight.select(1, 5).fill_(-value);
    Grid grid = FitMinMaxGrid(weight, scheme());
    EXPECT_GT(grid.scales.min().item<double>(), 0.0) << value;
    EXPECT_TRUE(std::isfinite(grid.scales.max().item<double>())) << value;
    EXPECT_TRUE(at::isfinite(RoundTrip(weight, scheme())).all().item<bool>()) << value;
    // The largest multiple of any code, not only of those that this weight uses.
    at::Tensor codes = at::full({1, 8}, -8, at::kChar);
    EXPECT_TRUE(at::isfinite(Dequantize({scheme(), codes, grid.scales, grid.zero_points})).all().item<bool>()) << value;
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, OddGroupTest,
                         testing::Combine(testing::Bool(), testing::Values(at::kBFloat16, at::kHalf, at::kFloat)));

TEST(CheckWeightTest, NamesWhatIsWrong) {
  const QuantizationScheme scheme{4, 32, true};
  at::Tensor weight = RandomWeight(4, 64, at::kBFloat16, 1);
  EXPECT_TRUE(CheckWeight("a.q_proj", weight, scheme).ok());
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor broken = weight.clone();
    broken[2].narrow(0, 7, 1).fill_(bad);
    absl::Status status = CheckWeight("a.q_proj", broken, scheme);
    EXPECT_EQ(ErrorReason(status), reason::kNonFiniteWeights);
    EXPECT_EQ(ErrorClassOf(status), ErrorClass::kUser);
    EXPECT_NE(status.message().find("a.q_proj"), absl::string_view::npos);
  }
  absl::Status groups = CheckWeight("a.q_proj", RandomWeight(4, 72, at::kBFloat16, 1), scheme);
  EXPECT_EQ(ErrorReason(groups), reason::kInvalidRecipe);
  EXPECT_NE(groups.message().find("72"), absl::string_view::npos);
  EXPECT_EQ(ErrorReason(CheckWeight("a", at::zeros({4, 64}, at::kDouble), scheme)), reason::kUnsupportedModel);
}

}  // namespace
}  // namespace calipress::method
