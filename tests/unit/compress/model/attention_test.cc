#include "compress/model/attention.h"

#include <cmath>
#include <limits>
#include <tuple>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace calipress::model {
namespace {

// Softmax attention in double precision, one pair of positions at a time through a mask.
at::Tensor Plain(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, int64_t window) {
  const int64_t length = query.size(1);
  const int64_t times = query.size(2) / key.size(2);
  const at::Tensor q = query.to(at::kDouble).transpose(1, 2);
  const at::Tensor k = key.to(at::kDouble).repeat_interleave(times, 2).transpose(1, 2);
  const at::Tensor v = value.to(at::kDouble).repeat_interleave(times, 2).transpose(1, 2);
  at::Tensor mask = at::zeros({length, length}, at::kDouble);
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < length; ++j) {
      const bool seen = j <= i && (window == 0 || j > i - window);
      if (!seen) mask[i][j] = -std::numeric_limits<double>::infinity();
    }
  }
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(query.size(3))) + mask;
  const at::Tensor heads = at::matmul(at::softmax(scores, -1), v);
  return heads.transpose(1, 2).reshape({query.size(0), length, -1});
}

// length, heads, kv_heads, head_dim, window
class CausalAttentionTest : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>> {};

TEST_P(CausalAttentionTest, AgreesWithDoublePrecision) {
  const auto [length, heads, kv_heads, dim, window] = GetParam();
  at::manual_seed(7);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor query = (at::randn({2, length, heads, dim}) * 2.0).to(dtype);
    const at::Tensor key = at::randn({2, length, kv_heads, dim}).to(dtype);
    const at::Tensor value = at::randn({2, length, kv_heads, dim}).to(dtype);
    const at::Tensor output = CausalAttention(query, key, value, window);
    ASSERT_EQ(output.sizes(), (at::IntArrayRef{2, length, heads * dim}));
    ASSERT_EQ(output.scalar_type(), dtype);
    ASSERT_TRUE(output.is_contiguous());
    const double error = (output.to(at::kDouble) - Plain(query, key, value, window)).abs().max().item<double>();
    EXPECT_LT(error, dtype == at::kFloat ? 1e-5 : 3e-2);
  }
}

TEST(CausalAttention, DoesNotDependOnTheThreads) {
  const at::Tensor query = at::randn({2, 205, 4, 64}).to(at::kBFloat16);
  const at::Tensor key = at::randn({2, 205, 2, 64}).to(at::kBFloat16);
  at::set_num_threads(1);
  const at::Tensor one = CausalAttention(query, key, key, 0);
  for (const int threads : {2, 5}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(CausalAttention(query, key, key, 0), one)) << threads;
  }
}

TEST(CausalAttention, NaNStaysInItsSequence) {
  at::Tensor query = at::randn({2, 40, 2, 32}).to(at::kBFloat16);
  const at::Tensor key = at::randn({2, 40, 2, 32}).to(at::kBFloat16);
  query[1][7][1][3] = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor output = CausalAttention(query, key, key, 0).to(at::kFloat);
  EXPECT_TRUE(at::isfinite(output[0]).all().item<bool>());
  EXPECT_TRUE(at::isnan(output[1][7].narrow(0, 32, 32)).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Shapes, CausalAttentionTest,
                         testing::Values(std::make_tuple(1, 4, 2, 16, 0), std::make_tuple(40, 4, 4, 16, 0),
                                         std::make_tuple(40, 8, 2, 32, 0), std::make_tuple(97, 4, 2, 64, 0),
                                         std::make_tuple(130, 6, 2, 24, 0), std::make_tuple(300, 4, 1, 64, 0),
                                         std::make_tuple(520, 2, 1, 128, 0), std::make_tuple(12, 4, 2, 16, 0),
                                         std::make_tuple(13, 4, 2, 6, 0), std::make_tuple(96, 4, 2, 80, 0),
                                         std::make_tuple(205, 4, 2, 36, 33), std::make_tuple(40, 4, 2, 16, 7),
                                         std::make_tuple(40, 4, 2, 16, 40), std::make_tuple(40, 4, 2, 16, 1),
                                         std::make_tuple(300, 4, 2, 32, 64), std::make_tuple(40, 4, 2, 16, 100)));

}  // namespace
}  // namespace calipress::model
