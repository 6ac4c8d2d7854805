#include "compress/method/prune/mask.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method::prune {
namespace {

// The same by a stable sort of each run of `width` scores, row-major.
at::Tensor Sorted(const at::Tensor& scores, int64_t width, int64_t count) {
  at::Tensor mask = at::zeros(scores.sizes(), at::kBool);
  const float* from = scores.const_data_ptr<float>();
  bool* to = mask.mutable_data_ptr<bool>();
  for (int64_t first = 0; first < scores.numel(); first += width) {
    std::vector<int64_t> order(width);
    std::iota(order.begin(), order.end(), first);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return from[a] < from[b]; });
    for (int64_t i = 0; i < count; ++i) to[order[i]] = true;
  }
  return mask;
}

// Scores of few values: many ties.
at::Tensor Coarse(at::IntArrayRef sizes, uint64_t seed) { return RandomNormal(sizes, seed).abs().mul(4).floor(); }

TEST(Mask, RowsTakeTheSmallestAndTheLowerColumnOfTies) {
  for (int64_t n : {1, 7, 96, 511, 512, 1000, 3000}) {
    for (int64_t count : {int64_t{0}, int64_t{1}, n / 3, n / 2, n - 1, n}) {
      for (const at::Tensor& scores :
           {RandomNormal({5, n}, n), RandomNormal({5, n}, n).abs(), Coarse({5, n}, n), at::zeros({5, n})}) {
        EXPECT_TRUE(at::equal(SmallestOfRows(scores, count), Sorted(scores, n, count))) << n << " " << count;
      }
    }
  }
}

TEST(Mask, MatrixTakesTheSmallestAndTheFirstOfTies) {
  const int threads = at::get_num_threads();
  for (int used : {1, 2}) {
    at::set_num_threads(used);
    for (const at::Tensor& scores : {RandomNormal({70, 2001}, 1), Coarse({70, 2001}, 2), at::zeros({3, 5})}) {
      const int64_t n = scores.numel();
      for (int64_t count : {int64_t{0}, int64_t{1}, n / 2, n - 1, n}) {
        EXPECT_TRUE(at::equal(SmallestOfMatrix(scores, count), Sorted(scores, n, count))) << count;
      }
    }
  }
  at::set_num_threads(threads);
}

TEST(Mask, RunsTakeNOfM) {
  for (int64_t of : {2, 3, 4, 5, 8, 16, 32, 256}) {
    for (int64_t zeros : {int64_t{1}, of / 2, of - 1}) {
      for (const at::Tensor& scores : {RandomNormal({6, of * 9}, of), Coarse({6, of * 9}, of), at::ones({6, of * 9})}) {
        EXPECT_TRUE(at::equal(SmallestOfRuns(scores, zeros, of), Sorted(scores, of, zeros))) << zeros << ":" << of;
      }
    }
  }
}

TEST(Mask, NegativeZeroIsZeroAndInfinityIsLargest) {
  const float infinity = std::numeric_limits<float>::infinity();
  const at::Tensor scores = at::tensor({infinity, 0.0f, -0.0f, 1e-45f, infinity, -1.0f}).unsqueeze(0);
  EXPECT_TRUE(at::equal(SmallestOfRows(scores, 2), at::tensor({0, 1, 0, 0, 0, 1}).to(at::kBool).unsqueeze(0)));
  EXPECT_TRUE(at::equal(SmallestOfRows(scores, 5), at::tensor({1, 1, 1, 1, 0, 1}).to(at::kBool).unsqueeze(0)));
}

TEST(Mask, CountsRoundDown) {
  EXPECT_EQ(CountOf(255, 0.5), 127);
  EXPECT_EQ(CountOf(100, 0.0), 0);
  EXPECT_EQ(CountOf(3, 0.999), 2);
}

}  // namespace
}  // namespace calipress::method::prune
