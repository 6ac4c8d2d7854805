#include "compress/model/input_rounding.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace calipress::model {
namespace {

using checkpoint::Activations;
using checkpoint::NumberType;

// One number in double, with a given scale.
double Rounded(double x, double scale, NumberType type) {
  if (type == NumberType::kInt) return std::nearbyint(std::clamp(x / scale, -128.0, 127.0)) * scale;
  return at::tensor(std::clamp(x / scale, -448.0, 448.0)).to(at::kFloat8_e4m3fn).to(at::kDouble).item<double>() * scale;
}

TEST(RoundInput, NothingWhereNothingIsAsked) {
  const at::Tensor input = at::randn({2, 3, 8});
  EXPECT_TRUE(at::equal(RoundInput(input, {}), input));
}

TEST(RoundInput, DynamicScalesAreOfATokenOrItsRuns) {
  for (const NumberType type : {NumberType::kInt, NumberType::kFloat}) {
    for (const bool blocks : {false, true}) {
      at::Tensor input = at::randn({2, 3, 256});
      input[1][2].zero_();
      input[0][1].narrow(0, 0, 128).mul_(50.0);
      const at::Tensor result = RoundInput(input, {Activations::kDynamic, type, blocks, {}});
      ASSERT_EQ(result.sizes(), input.sizes());
      for (int64_t token = 0; token < 6; ++token) {
        const at::Tensor row = input[token / 3][token % 3], out = result[token / 3][token % 3];
        for (int64_t j = 0; j < 256; j += 5) {
          const at::Tensor run = blocks ? row.narrow(0, j / 128 * 128, 128) : row;
          const double largest = run.abs().max().item<double>();
          const double scale = largest == 0.0 ? 1.0 : largest / (type == NumberType::kInt ? 127.5 : 448.0);
          // A number at the middle between two codes may fall to either side.
          EXPECT_NEAR(out[j].item<double>(), Rounded(row[j].item<double>(), scale, type), 1e-5 * largest)
              << j << " of token " << token;
        }
      }
    }
  }
}

TEST(RoundInput, StaticScalesClipWhatIsBeyond) {
  const at::Tensor input = at::tensor({-100.0f, -1.0f, 0.26f, 0.0f, 100.0f}).to(at::kBFloat16);
  const at::Tensor scale = at::tensor({0.5f});
  const at::Tensor ints = RoundInput(input, {Activations::kStatic, NumberType::kInt, false, scale});
  EXPECT_EQ(ints.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(ints.to(at::kFloat), at::tensor({-64.0f, -1.0f, 0.5f, 0.0f, 63.5f})));
  const at::Tensor floats = RoundInput(input.mul(4), {Activations::kStatic, NumberType::kFloat, false, scale});
  EXPECT_EQ(floats[0].item<float>(), -224.0f);
  EXPECT_EQ(floats[4].item<float>(), 224.0f);
  EXPECT_EQ(floats[1].item<float>(), -4.0f);
}

}  // namespace
}  // namespace calipress::model
