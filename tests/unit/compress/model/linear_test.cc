#include "compress/model/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace calipress::model {
namespace {

// Sums in fp32 in any order, rounded once: at most the dtype's last place from the exact sum.
void ExpectRoundedSum(const at::Tensor& result, const at::Tensor& exact, double last_place) {
  const at::Tensor difference = (result.to(at::kDouble) - exact).abs();
  const at::Tensor allowed = exact.abs() * last_place + 1e-5;
  EXPECT_TRUE(difference.le(allowed).all().item<bool>()) << (difference - allowed).max().item<double>();
}

TEST(Linear, IsTheSumInFloatRoundedOnce) {
  at::manual_seed(5);
  struct Case {
    at::ScalarType dtype;
    double last_place;
  };
  for (const Case& c : {Case{at::kFloat, 1e-5}, Case{at::kBFloat16, 1.0 / 256}, Case{at::kHalf, 1.0 / 2048}}) {
    // Less than a strip, a strip and a rest.
    for (const int64_t outputs : {3, 1024, 1500}) {
      const at::Tensor input = at::randn({2, 5, 64}).to(c.dtype);
      const at::Tensor weight = at::randn({outputs, 64}).to(c.dtype);
      const at::Tensor bias = at::randn({outputs}).to(c.dtype);
      const at::Tensor exact = at::matmul(input.to(at::kDouble), weight.to(at::kDouble).t());
      for (const auto& way : {Linear, LinearInFloat}) {
        const at::Tensor plain = way(input, weight, {});
        ASSERT_EQ(plain.sizes(), (at::IntArrayRef{2, 5, outputs}));
        ASSERT_EQ(plain.scalar_type(), c.dtype);
        ExpectRoundedSum(plain, exact, c.last_place);
        ExpectRoundedSum(way(input, weight, bias), exact + bias.to(at::kDouble), c.last_place);
      }
    }
  }
}

TEST(Linear, DoesNotWidenWhatTheProcessorMultiplies) { EXPECT_FALSE(BetterInFloat(at::zeros({1}, at::kFloat))); }

}  // namespace
}  // namespace calipress::model
