// OWL's outlier shares and ratios against plain transcriptions, and what ratios keep whatever the shares.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/method/prune/owl/outliers.h"
#include "compress/method/prune/owl/ratios.h"
#include "tests/unit/compress/method/testing_problem.h"

namespace calipress::method::owl {
namespace {

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<double> RandomShares(int64_t blocks, uint64_t seed) {
  const at::Tensor shares = RandomNormal({blocks}, seed).exp().mul(0.01).to(at::kDouble).contiguous();
  return {shares.const_data_ptr<double>(), shares.const_data_ptr<double>() + blocks};
}

// Keep ratios as the reference writes them, line by line.
std::vector<double> ReferenceKept(std::vector<double> ratios, double width) {
  const double least = *std::min_element(ratios.begin(), ratios.end());
  const double most = *std::max_element(ratios.begin(), ratios.end());
  for (double& ratio : ratios) ratio = (100 * ratio - 100 * least) * (1 / (100 * most - 100 * least) * width);
  const double mean = Mean(ratios);
  for (double& ratio : ratios) ratio -= mean;
  return ratios;
}

TEST(OwlSparsities, AreTheTranscription) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<double> shares = RandomShares(2 + static_cast<int64_t>(seed) * 3, seed);
    const std::vector<double> found = Sparsities(shares, 0.7, 0.08), kept = ReferenceKept(shares, 2 * 0.08);
    ASSERT_EQ(found.size(), shares.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], 1 - (kept[i] + (1 - 0.7)), 1e-12);
  }
}

TEST(OwlSparsities, KeepTheMeanAndTheSpreadAndTheOrder) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::vector<double> shares = RandomShares(32, seed), found = Sparsities(shares, 0.6, 0.1);
    EXPECT_NEAR(Mean(found), 0.6, 1e-12);
    const auto [least, most] = std::minmax_element(found.begin(), found.end());
    EXPECT_NEAR(*most - *least, 0.2, 1e-12);
    for (size_t i = 0; i < found.size(); ++i) {
      for (size_t j = 0; j < found.size(); ++j) {
        if (shares[i] > shares[j]) {
          EXPECT_LT(found[i], found[j]);
        }
      }
    }
  }
  // Shares that lie evenly about their middle stay within lambda of the mean.
  const std::vector<double> even = Sparsities({0.01, 0.02, 0.03}, 0.6, 0.1);
  EXPECT_NEAR(even[0], 0.7, 1e-12);
  EXPECT_NEAR(even[1], 0.6, 1e-12);
  EXPECT_NEAR(even[2], 0.5, 1e-12);
}

TEST(OwlSparsities, EqualSharesOrNoLambdaAreUniform) {
  EXPECT_EQ(Sparsities({0.02, 0.02, 0.02}, 0.7, 0.08), std::vector<double>(3, 0.7));
  EXPECT_EQ(Sparsities({0.0, 0.0}, 0.7, 0.08), std::vector<double>(2, 0.7));
  EXPECT_EQ(Sparsities({0.01, 0.05, 0.02}, 0.7, 0.0), std::vector<double>(3, 0.7));
  EXPECT_EQ(Sparsities({0.3}, 0.7, 0.08), std::vector<double>{0.7});
  EXPECT_TRUE(Sparsities({}, 0.7, 0.08).empty());
}

TEST(OwlSparsities, ShrinkRatherThanLeaveTheRange) {
  for (const double sparsity : {0.1, 0.9}) {
    for (const std::vector<double>& shares :
         {std::vector<double>{0, 1, 1, 1, 1, 1, 1, 1}, std::vector<double>{1, 0, 0, 0, 0, 0, 0, 0}}) {
      const std::vector<double> found = Sparsities(shares, sparsity, 0.099);
      EXPECT_NEAR(Mean(found), sparsity, 1e-12);
      for (const double one : found) {
        EXPECT_GE(one, 0.0);
        EXPECT_LT(one, 1.0);
      }
    }
  }
  EXPECT_NEAR(Sparsities({0, 1, 1, 1, 1, 1, 1, 1}, 0.9, 0.099)[0], 0.9 + 0.95 * 0.1, 1e-12);
}

TEST(OwlZeros, AreTheReferencesRoundingWhereThatKeepsTheMean) {
  int kept_mean = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const std::vector<double> shares = RandomShares(6, seed), centred = ReferenceKept(shares, 2.0);
    const std::vector<int> found = Zeros(shares, {5, 8}, 2.0);
    std::vector<int> reference;
    for (const double value : centred) reference.push_back(5 - static_cast<int>(std::nearbyint(value)));
    EXPECT_EQ(std::accumulate(found.begin(), found.end(), 0), 5 * 6);
    EXPECT_LE(*std::max_element(found.begin(), found.end()), 7);
    EXPECT_GE(*std::min_element(found.begin(), found.end()), 3);
    if (std::accumulate(reference.begin(), reference.end(), 0) == 5 * 6) {
      EXPECT_EQ(found, reference) << seed;
      ++kept_mean;
    }
  }
  EXPECT_GT(kept_mean, 20);
  EXPECT_LT(kept_mean, 100);
}

TEST(OwlZeros, OddCases) {
  EXPECT_EQ(Zeros({0.1, 0.1}, {2, 4}, 1.0), (std::vector<int>{2, 2}));
  EXPECT_EQ(Zeros({0.2, 0.1}, {4, 8}, 2.0), (std::vector<int>{3, 5}));
  EXPECT_EQ(Zeros({0.1, 0.9, 0.1}, {4, 8}, 0.0), (std::vector<int>{4, 4, 4}));
  // 0.4, 0.4, -0.8 round to 0, 0, -1: one of the first two goes up.
  EXPECT_EQ(Zeros({0.12, 0.12, 0.0}, {2, 4}, 1.2), (std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(Zeros({}, {2, 4}, 1.0).empty());
}

std::vector<InputGroup> RandomBlock(uint64_t seed, at::ScalarType dtype) {
  std::vector<InputGroup> block(2);
  block[0].statistics.square_sum = RandomNormal({96}, seed).mul(2).exp();
  block[0].tasks = {{"q_proj", RandomWeight(40, 96, dtype, seed + 1)},
                    {"k_proj", RandomWeight(8, 96, dtype, seed + 2)}};
  block[1].statistics.square_sum = RandomNormal({40}, seed + 3).exp().mul(100);
  block[1].tasks = {{"o_proj", RandomWeight(96, 40, dtype, seed + 4)}};
  return block;
}

// All metrics of the block in one list, in double.
double ReferenceShare(const std::vector<InputGroup>& block, double threshold) {
  std::vector<at::Tensor> metrics;
  for (const InputGroup& group : block) {
    for (const LinearTask& task : group.tasks) {
      metrics.push_back(
          task.weight.to(at::kDouble).abs().mul(group.statistics.square_sum.to(at::kDouble).sqrt()).flatten());
    }
  }
  const at::Tensor all = at::cat(metrics);
  return all.gt(all.mean().mul(threshold)).to(at::kDouble).mean().item<double>();
}

TEST(OutlierShare, IsTheTranscription) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const double threshold : {1.0, 3.0, 5.0, 10.0}) {
      const auto block = RandomBlock(7, dtype);
      const auto share = OutlierShare(block, threshold);
      ASSERT_TRUE(share.ok()) << share.status();
      EXPECT_DOUBLE_EQ(*share, ReferenceShare(block, threshold)) << threshold;
      EXPECT_GT(*share, 0.0);
    }
  }
}

TEST(OutlierShare, IsTheSameForAnyThreadsAndAnyScale) {
  auto block = RandomBlock(8, at::kBFloat16);
  const int threads = at::get_num_threads();
  const double share = *OutlierShare(block, 5.0);
  at::set_num_threads(1);
  EXPECT_EQ(*OutlierShare(block, 5.0), share);
  at::set_num_threads(threads);
  for (InputGroup& group : block) group.statistics.square_sum = group.statistics.square_sum.mul(1024.0);
  EXPECT_EQ(*OutlierShare(block, 5.0), share);
}

TEST(OutlierShare, OddBlocks) {
  EXPECT_EQ(*OutlierShare({}, 5.0), 0.0);
  auto zeros = RandomBlock(9, at::kFloat);
  for (InputGroup& group : zeros) {
    for (LinearTask& task : group.tasks) task.weight = at::zeros_like(task.weight);
  }
  EXPECT_EQ(*OutlierShare(zeros, 5.0), 0.0);
  auto dead = RandomBlock(9, at::kFloat);
  dead[0].statistics.square_sum = dead[0].statistics.square_sum.clone();
  dead[0].statistics.square_sum.narrow(0, 3, 20).zero_();
  EXPECT_DOUBLE_EQ(*OutlierShare(dead, 5.0), ReferenceShare(dead, 5.0));

  auto bad = RandomBlock(9, at::kFloat);
  bad[1].tasks[0].weight[3][4] = std::numeric_limits<float>::quiet_NaN();
  const absl::Status weights = OutlierShare(bad, 5.0).status();
  EXPECT_EQ(ErrorReason(weights), reason::kNonFiniteWeights);
  EXPECT_NE(weights.message().find("o_proj"), std::string::npos) << weights;
  bad = RandomBlock(9, at::kFloat);
  bad[0].statistics.square_sum = bad[0].statistics.square_sum.clone();
  bad[0].statistics.square_sum[5] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ErrorReason(OutlierShare(bad, 5.0).status()), reason::kNonFiniteActivations);
}

}  // namespace
}  // namespace calipress::method::owl
