#include "compress/checkpoint/copy_tensor.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "compress/checkpoint/number_formats.h"

namespace calipress::checkpoint {
namespace {

uint16_t Half(float value) {
  uint16_t half = 0;
  ConvertNumbers(Dtype::kF32, &value, 1, Dtype::kF16, &half);
  return half;
}

ConversionLoss ToHalf(float value) {
  uint16_t half = 0;
  return ConvertNumbers(Dtype::kF32, &value, 1, Dtype::kF16, &half);
}

TEST(ConvertNumbers, KnownHalves) {
  EXPECT_EQ(Half(1.0f), 0x3c00);
  EXPECT_EQ(Half(-2.5f), 0xc100);
  EXPECT_EQ(Half(65504.0f), 0x7bff);
  EXPECT_EQ(Half(std::ldexp(1.0f, -24)), 0x0001);  // the least
  EXPECT_EQ(Half(std::ldexp(1.0f, -25)), 0x0000);  // half of it, to even
  EXPECT_EQ(Half(std::ldexp(1.5f, -25)), 0x0001);
  EXPECT_EQ(Half(1.0f + std::ldexp(1.0f, -11)), 0x3c00);
  EXPECT_EQ(Half(1.0f + std::ldexp(3.0f, -11)), 0x3c02);
}

TEST(ConvertNumbers, TellsWhatIsLost) {
  EXPECT_FALSE(ToHalf(0.5f).inexact);
  EXPECT_TRUE(ToHalf(1.0f + std::ldexp(1.0f, -11)).inexact);
  EXPECT_TRUE(ToHalf(65520.0f).overflow);
  EXPECT_FALSE(ToHalf(65519.0f).overflow);
  EXPECT_FALSE(ToHalf(std::numeric_limits<float>::infinity()).overflow);
  EXPECT_FALSE(ToHalf(std::numeric_limits<float>::quiet_NaN()).overflow);
}

// bf16's eight bits of mantissa fit f16's eleven wherever the exponent does.
TEST(ConvertNumbers, EveryBf16WithinTheRangeIsExactInF16) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto stored = static_cast<uint16_t>(bits);
    const float value = Bf16::Load(stored);
    if (std::isnan(value)) continue;
    uint16_t half = 0;
    const ConversionLoss loss = ConvertNumbers(Dtype::kBF16, &stored, 1, Dtype::kF16, &half);
    const float size = std::fabs(value);
    EXPECT_EQ(loss.overflow, !std::isinf(size) && size >= 65520.0f) << value;
    if (size == 0.0f || (size >= std::ldexp(1.0f, -17) && size < 65504.0f)) {
      EXPECT_FALSE(loss.inexact) << value;
      EXPECT_EQ(F16::Load(half), value);
    }
  }
}

TEST(ConvertNumbers, F16RoundTripsThroughWiderOnes) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto stored = static_cast<uint16_t>(bits);
    float wide = 0;
    EXPECT_FALSE(ConvertNumbers(Dtype::kF16, &stored, 1, Dtype::kF32, &wide).inexact);
    if (std::isnan(wide)) continue;
    EXPECT_EQ(Half(wide), stored);
  }
}

}  // namespace
}  // namespace calipress::checkpoint
