#include "compress/model/rotary.h"

#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/model/block.h"

namespace calipress::model {
namespace {

using arch::RopeScaling;

arch::ArchSpec SpecWith(RopeScaling::Kind kind, double factor) {
  arch::ArchSpec spec;
  spec.head_dim = 32;
  spec.rope_theta = 10000.0;
  spec.max_positions = 64;
  spec.rope_scaling.kind = kind;
  spec.rope_scaling.factor = factor;
  spec.rope_scaling.original_max_positions = 32;
  return spec;
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(RotaryTable, HasTheAnglesOfThePaper) {
  const RotaryTable table = MakeRotaryTable(SpecWith(RopeScaling::Kind::kNone, 1.0), 50, at::kCPU);
  ASSERT_EQ(table.cos.sizes(), (at::IntArrayRef{50, 32}));
  ASSERT_EQ(table.cos.scalar_type(), at::kFloat);
  for (int64_t position : {0, 1, 17, 49}) {
    for (int64_t i = 0; i < 16; ++i) {
      const double angle = position / std::pow(10000.0, 2.0 * i / 32.0);
      for (int64_t column : {i, i + 16}) {
        EXPECT_NEAR(table.cos[position][column].item<double>(), std::cos(angle), 1e-5);
        EXPECT_NEAR(table.sin[position][column].item<double>(), std::sin(angle), 1e-5);
      }
    }
  }
}

TEST(RotaryTable, LinearScalingSlowsPositionsDown) {
  const RotaryTable plain = MakeRotaryTable(SpecWith(RopeScaling::Kind::kNone, 1.0), 10, at::kCPU);
  const RotaryTable slow = MakeRotaryTable(SpecWith(RopeScaling::Kind::kLinear, 4.0), 37, at::kCPU);
  EXPECT_LT(MaxDifference(slow.sin[36], plain.sin[9]), 1e-6);
}

TEST(RotaryTable, DynamicScalingStartsBeyondTheModelsPositions) {
  const arch::ArchSpec spec = SpecWith(RopeScaling::Kind::kDynamic, 4.0);
  const RotaryTable plain = MakeRotaryTable(SpecWith(RopeScaling::Kind::kNone, 1.0), 128, at::kCPU);
  EXPECT_TRUE(at::equal(MakeRotaryTable(spec, 64, at::kCPU).cos, plain.cos.narrow(0, 0, 64)));
  const RotaryTable longer = MakeRotaryTable(spec, 128, at::kCPU);
  const double theta = 10000.0 * std::pow(4.0 * 128 / 64 - 3.0, 32.0 / 30.0);
  EXPECT_NEAR(longer.cos[100][3].item<double>(), std::cos(100.0 / std::pow(theta, 6.0 / 32.0)), 1e-4);
  EXPECT_GT(MaxDifference(longer.cos, plain.cos), 0.1);
}

TEST(RotaryTable, Llama3KeepsHighFrequenciesAndDividesLowOnes) {
  arch::ArchSpec spec = SpecWith(RopeScaling::Kind::kLlama3, 8.0);
  spec.rope_scaling.original_max_positions = 64;
  const RotaryTable plain = MakeRotaryTable(SpecWith(RopeScaling::Kind::kNone, 1.0), 20, at::kCPU);
  const RotaryTable scaled = MakeRotaryTable(spec, 20, at::kCPU);
  EXPECT_TRUE(at::equal(scaled.sin.select(1, 0), plain.sin.select(1, 0)));
  const double slowest = 16.0 / std::pow(10000.0, 30.0 / 32.0) / 8.0;
  EXPECT_NEAR(scaled.sin[16][15].item<double>(), std::sin(slowest), 1e-7);
}

TEST(RotaryTable, YarnScalesMagnitudes) {
  arch::ArchSpec spec = SpecWith(RopeScaling::Kind::kYarn, 4.0);
  EXPECT_NEAR(MakeRotaryTable(spec, 4, at::kCPU).cos[0][0].item<double>(), 0.1 * std::log(4.0) + 1.0, 1e-6);
  spec.rope_scaling.attention_factor = 1.5;
  EXPECT_NEAR(MakeRotaryTable(spec, 4, at::kCPU).cos[0][0].item<double>(), 1.5, 1e-6);
  spec.rope_scaling.attention_factor.reset();
  spec.rope_scaling.mscale = 2.0;
  spec.rope_scaling.mscale_all_dim = 1.0;
  const double expected = (0.2 * std::log(4.0) + 1.0) / (0.1 * std::log(4.0) + 1.0);
  EXPECT_NEAR(MakeRotaryTable(spec, 4, at::kCPU).cos[0][0].item<double>(), expected, 1e-6);
}

TEST(ApplyRotary, RoundsAsTheChainOfOperations) {
  at::manual_seed(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t dim : {8, 32, 36, 64, 128}) {
      const at::Tensor heads = at::randn({2, 11, 3, dim}).to(dtype);
      arch::ArchSpec spec = SpecWith(RopeScaling::Kind::kNone, 1.0);
      spec.head_dim = dim;
      const RotaryTable table = MakeRotaryTable(spec, 13, at::kCPU);
      const at::Tensor cos = table.cos.narrow(0, 0, 11).to(dtype).unsqueeze(1);
      const at::Tensor sin = table.sin.narrow(0, 0, 11).to(dtype).unsqueeze(1);
      const at::Tensor half = at::cat({-heads.narrow(3, dim / 2, dim / 2), heads.narrow(3, 0, dim / 2)}, 3);
      const at::Tensor expected = heads * cos + half * sin;
      at::Tensor rotated = heads.clone();
      ApplyRotary(rotated, table.cos, table.sin);
      EXPECT_TRUE(at::equal(rotated, expected)) << "head_dim " << dim << " dtype " << dtype;
    }
  }
}

TEST(ApplyRotary, RefusesATableThatIsTooShort) {
  const RotaryTable table = MakeRotaryTable(SpecWith(RopeScaling::Kind::kNone, 1.0), 4, at::kCPU);
  at::Tensor heads = at::randn({1, 5, 2, 32});
  EXPECT_ANY_THROW(ApplyRotary(heads, table.cos, table.sin));
}

}  // namespace
}  // namespace calipress::model
