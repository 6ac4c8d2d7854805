#include "compress/model/rms_norm.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace calipress::model {
namespace {

// The chain of operations of transformers' LlamaRMSNorm.
at::Tensor Chain(const at::Tensor& input, const at::Tensor& weight, double eps) {
  const at::Tensor wide = input.to(at::kFloat);
  const at::Tensor variance = wide.pow(2).mean(-1, true);
  return weight * (wide * at::rsqrt(variance + eps)).to(input.scalar_type());
}

class RmsNormTest : public testing::TestWithParam<int64_t> {};

TEST_P(RmsNormTest, EqualsTheChainToTheBit) {
  const int64_t size = GetParam();
  at::manual_seed(size);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor input = (at::randn({3, 7, size}) * 3.0).to(dtype);
    const at::Tensor weight = (at::randn({size}) + 1.0).to(dtype);
    const at::Tensor expected = Chain(input, weight, 1e-5);
    EXPECT_TRUE(at::equal(RmsNorm(input, weight, 1e-5), expected)) << "size " << size << " dtype " << dtype;
    at::Tensor own = input.clone();
    RmsNormInPlace(own, weight, 1e-5);
    EXPECT_TRUE(at::equal(own, expected)) << "in place, size " << size << " dtype " << dtype;
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, RmsNormTest,
                         testing::Values(1, 7, 8, 31, 32, 64, 80, 100, 128, 257, 896, 1000, 1024, 1536, 2048, 3584,
                                         4096, 5120, 8192, 16384, 20000));

TEST(RmsNorm, ReadsAStridedInput) {
  const at::Tensor wide = at::randn({4, 6, 64}).to(at::kBFloat16);
  const at::Tensor input = wide.transpose(0, 1);
  const at::Tensor weight = at::rand({64}).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(RmsNorm(input, weight, 1e-6), Chain(input, weight, 1e-6)));
}

TEST(RmsNorm, KeepsNaNInItsRow) {
  at::Tensor input = at::randn({2, 64}).to(at::kBFloat16);
  input[0][5] = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor output = RmsNorm(input, at::ones({64}, at::kBFloat16), 1e-6).to(at::kFloat);
  EXPECT_TRUE(at::isnan(output[0]).all().item<bool>());
  EXPECT_TRUE(at::isfinite(output[1]).all().item<bool>());
}

TEST(RmsNorm, RefusesAWeightOfAnotherSize) { EXPECT_ANY_THROW(RmsNorm(at::randn({2, 64}), at::ones({63}), 1e-6)); }

}  // namespace
}  // namespace calipress::model
