// Grids of floats, matrices and blocks, and the search for shrunk ranges.
#include <cmath>
#include <limits>
#include <string>
#include <tuple>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/method/method.h"
#include "compress/method/quantize/grid.h"
#include "compress/method/quantize/grid_mse.h"
#include "compress/method/quantize/input_scale.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method {
namespace {

using checkpoint::Activations;
using checkpoint::NumberType;
using checkpoint::QuantizationScheme;
using checkpoint::Strategy;

QuantizationScheme Floats(Strategy strategy) {
  return {.bits = 8, .group_size = -1, .symmetric = true, .type = NumberType::kFloat, .strategy = strategy};
}

QuantizationScheme Integers(int bits, Strategy strategy, bool symmetric) {
  return {.bits = bits, .group_size = -1, .symmetric = symmetric, .strategy = strategy};
}

QuantizedWeight Quantize(const at::Tensor& weight, const QuantizationScheme& scheme, Observer observer) {
  const Grid grid = FitGrid(weight, scheme, observer);
  return {scheme, NearestCodes(weight, grid, scheme), grid.scales, grid.zero_points, {}};
}

// The rows and columns of a scale.
at::Tensor Cell(const at::Tensor& matrix, const QuantizationScheme& scheme, int64_t row, int64_t group) {
  const int64_t height = scheme.RowsPerScale(matrix.size(0)), width = scheme.GroupWidth(matrix.size(1));
  return matrix.slice(0, row * height, (row + 1) * height).slice(1, group * width, (group + 1) * width);
}

class StrategyTest : public testing::TestWithParam<std::tuple<Strategy, at::ScalarType>> {
 protected:
  Strategy strategy() const { return std::get<0>(GetParam()); }
  at::ScalarType dtype() const { return std::get<1>(GetParam()); }
  // Neither rows nor columns are whole blocks.
  at::Tensor Weight() const { return RandomWeight(150, 288, dtype(), 7); }
  double Precision() const { return dtype() == at::kBFloat16 ? 1.0 / 256 : dtype() == at::kHalf ? 1.0 / 2048 : 1e-6; }
};

TEST_P(StrategyTest, ScalesCoverTheirCells) {
  const at::Tensor weight = Weight();
  for (const auto& scheme : {Floats(strategy()), Integers(8, strategy(), true), Integers(4, strategy(), false)}) {
    const Grid grid = FitMinMaxGrid(weight, scheme);
    ASSERT_EQ(grid.scales.sizes(), at::IntArrayRef({scheme.ScaleRows(150), scheme.Groups(288)}));
    ASSERT_EQ(grid.scales.scalar_type(), dtype());
    for (int64_t row = 0; row < grid.scales.size(0); ++row) {
      for (int64_t group = 0; group < grid.scales.size(1); ++group) {
        const at::Tensor cell = Cell(weight, scheme, row, group).to(at::kDouble);
        const double low = std::min(0.0, cell.min().item<double>()), high = std::max(0.0, cell.max().item<double>());
        const double exact = scheme.type == NumberType::kFloat ? std::max(-low, high) / 448.0
                             : scheme.symmetric                ? std::max(-low, high) / 127.5
                                                               : (high - low) / 15.0;
        EXPECT_NEAR(grid.scales[row][group].item<double>() / exact, 1.0, Precision());
      }
    }
  }
}

// torch's conversion after the clamp, of a quotient in fp32.
TEST_P(StrategyTest, FloatCodesAreTorchsOfTheClampedQuotient) {
  const at::Tensor weight = Weight();
  const QuantizationScheme scheme = Floats(strategy());
  Grid grid = FitMinMaxGrid(weight, scheme);
  // Half of the range, so that some are beyond the largest code.
  grid.scales = grid.scales.mul(0.5);
  const at::Tensor spread = SpreadOverWeight(grid.scales, 150, 288, scheme);
  const at::Tensor expected =
      weight.to(at::kFloat).div(spread.to(at::kFloat)).clamp(-448.0, 448.0).to(at::kFloat8_e4m3fn);
  const at::Tensor codes = NearestCodes(weight, grid, scheme);
  EXPECT_TRUE(at::equal(codes.view(at::kByte), expected.view(at::kByte)));
  EXPECT_EQ(codes.to(at::kFloat).abs().max().item<double>(), 448.0);
  EXPECT_FALSE(codes.to(at::kFloat).isnan().any().item<bool>());
}

TEST_P(StrategyTest, DequantizeIsTheLoadersToTheBit) {
  const at::Tensor weight = Weight();
  for (const auto& scheme : {Floats(strategy()), Integers(8, strategy(), true), Integers(8, strategy(), false)}) {
    const QuantizedWeight quantized = Quantize(weight, scheme, Observer::kMinMax);
    at::Tensor loader = quantized.codes.to(dtype());
    if (!scheme.symmetric) loader.sub_(SpreadOverWeight(quantized.zero_points, 150, 288, scheme).to(dtype()));
    loader.mul_(SpreadOverWeight(quantized.scales, 150, 288, scheme));
    EXPECT_TRUE(at::equal(Dequantize(quantized), loader));
    const double error = loader.to(at::kFloat).sub(weight.to(at::kFloat)).abs().max().item<double>();
    EXPECT_LT(error, 0.1 * weight.abs().max().item<double>());
  }
}

INSTANTIATE_TEST_SUITE_P(Strategies, StrategyTest,
                         testing::Combine(testing::Values(Strategy::kChannel, Strategy::kTensor, Strategy::kBlock),
                                          testing::Values(at::kBFloat16, at::kHalf, at::kFloat)));

TEST(Grid, FloatsKeepZerosAndExtremes) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const double largest = dtype == at::kHalf ? 65504.0 : 3e38;
    for (const double value : {0.0, largest, 1e-7}) {
      at::Tensor weight = at::zeros({3, 128}, dtype);
      weight[1].fill_(value);
      const QuantizedWeight quantized = Quantize(weight, Floats(Strategy::kChannel), Observer::kMinMax);
      EXPECT_EQ(quantized.scales[0][0].item<double>(), 1.0);
      const at::Tensor result = Dequantize(quantized).to(at::kDouble);
      EXPECT_TRUE(at::isfinite(result).all().item<bool>());
      EXPECT_EQ(result[0].abs().max().item<double>(), 0.0);
      EXPECT_NEAR(result[1][0].item<double>(), weight[1][0].item<double>(), 0.07 * value + 1e-7);
    }
  }
}

// |w' - w|^2.4 in double, in units of the largest weight.
at::Tensor Powers(const at::Tensor& weight, const QuantizedWeight& quantized) {
  const at::Tensor error = Dequantize(quantized).to(at::kDouble).sub(weight.to(at::kDouble)).abs();
  return error.div(weight.abs().max().item<double>()).pow(2.4);
}

double CellSum(const at::Tensor& powers, const QuantizationScheme& scheme, int64_t row, int64_t group) {
  return Cell(powers, scheme, row, group).sum().item<double>();
}

class MseTest : public testing::TestWithParam<QuantizationScheme> {};

// Each share tried in turn and in double, with the power of the whole sum.
TEST_P(MseTest, FindsTheLeastOfTheRangesAndIsNeverWorseThanMinMax) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    at::Tensor weight = RandomWeight(140, 160, dtype, 12);
    // Outliers that are worth clipping.
    weight.select(1, 3).mul_(6.0);
    const QuantizationScheme scheme = GetParam();
    const QuantizedWeight fitted = Quantize(weight, scheme, Observer::kMse);
    const QuantizedWeight widest = Quantize(weight, scheme, Observer::kMinMax);
    const Ranges ranges = RangesOf(weight, scheme);
    std::vector<at::Tensor> tried;  // |w' - w|^2.4
    for (int i = 0; i < 80; ++i) {
      const double share = 1.0 - i / 100.0;
      const Grid grid = GridOf({ranges.low.mul(share), ranges.high.mul(share)}, dtype, scheme);
      const QuantizedWeight one{scheme, NearestCodes(weight, grid, scheme), grid.scales, grid.zero_points, {}};
      tried.push_back(Powers(weight, one));
    }
    const at::Tensor best = Powers(weight, fitted), wide = Powers(weight, widest);
    double shrunk = 0;
    for (int64_t row = 0; row < fitted.scales.size(0); row += 7) {
      for (int64_t group = 0; group < fitted.scales.size(1); ++group) {
        const double sum = CellSum(best, scheme, row, group);
        EXPECT_LE(sum, CellSum(wide, scheme, row, group) * (1 + 1e-5));
        double least = std::numeric_limits<double>::infinity();
        for (const at::Tensor& powers : tried) least = std::min(least, CellSum(powers, scheme, row, group));
        EXPECT_NEAR(sum / least, 1.0, 1e-5);
        shrunk += !at::equal(fitted.scales[row][group], widest.scales[row][group]);
      }
    }
    if (scheme.bits < 8) EXPECT_GT(shrunk, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, MseTest,
                         testing::Values(QuantizationScheme{.bits = 4, .group_size = 32, .symmetric = true},
                                         QuantizationScheme{.bits = 3, .group_size = 16, .symmetric = false},
                                         Integers(8, Strategy::kChannel, true), Integers(8, Strategy::kTensor, false),
                                         Floats(Strategy::kBlock), Floats(Strategy::kChannel)));

TEST(MseGrid, ZerosStayZeros) {
  const at::Tensor weight = at::zeros({2, 64}, at::kBFloat16);
  const QuantizedWeight quantized = Quantize(weight, {.bits = 4, .group_size = 32, .symmetric = false}, Observer::kMse);
  EXPECT_TRUE(at::equal(Dequantize(quantized), weight));
}

TEST(InputScale, CoversTheLargestInputInTheCheckpointsDtype) {
  InputStatistics statistics;
  statistics.absolute_max = at::tensor({1.0f, 3.7f, 0.5f});
  QuantizationScheme scheme = Integers(8, Strategy::kChannel, true);
  EXPECT_FALSE(InputScaleOf(nullptr, scheme, at::kBFloat16).defined());
  scheme.activations = Activations::kStatic;
  at::Tensor scale = InputScaleOf(&statistics, scheme, at::kBFloat16);
  EXPECT_EQ(scale.sizes(), at::IntArrayRef({1}));
  EXPECT_EQ(scale.scalar_type(), at::kFloat);
  EXPECT_EQ(scale.item<float>(), at::tensor(3.7f / 127.5f).to(at::kBFloat16).item<float>());
  scheme = Floats(Strategy::kTensor);
  scheme.activations = Activations::kStatic;
  EXPECT_EQ(InputScaleOf(&statistics, scheme, at::kFloat).item<float>(), 3.7f / 448.0f);
  statistics.absolute_max.zero_();
  EXPECT_EQ(InputScaleOf(&statistics, scheme, at::kFloat).item<float>(), 1.0f);
  statistics.absolute_max.fill_(std::numeric_limits<float>::infinity());
  EXPECT_EQ(ErrorReason(CheckInputs("m.q_proj", &statistics, scheme)), reason::kNonFiniteActivations);
}

}  // namespace
}  // namespace calipress::method
