#include "compress/engine/share_statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "compress/engine/input_accumulator.h"
#include "compress/engine/sample_share.h"
#include "testing_replicas.h"

namespace calipress::engine {
namespace {

TEST(ShareOf, CoversEverySequenceOnce) {
  for (int64_t total = 0; total < 20; ++total) {
    for (int ranks = 1; ranks < 9; ++ranks) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const SampleShare share = ShareOf(total, rank, ranks);
        EXPECT_EQ(share.first, next);
        EXPECT_GE(share.count, total / ranks);
        EXPECT_LE(share.count, total / ranks + 1);
        next += share.count;
      }
      EXPECT_EQ(next, total);
    }
  }
}

constexpr int64_t kFeatures = 700;  // more than one band of the second moment

method::StatisticsNeeds Everything() {
  method::StatisticsNeeds needs;
  needs.second_moment = needs.absolute_sum = needs.absolute_max = needs.sum = needs.sequence_variance = true;
  needs.square_sum = true;
  needs.sample_rows = 11;
  return needs;
}

method::InputStatistics Gather(const at::Tensor& data, const method::StatisticsNeeds& needs, SampleShare share) {
  InputAccumulator accumulator(kFeatures, needs, data.size(0) * data.size(1), at::kCPU, share.first * data.size(1));
  for (int64_t i = 0; i < share.count; ++i) accumulator.Add(data.narrow(0, share.first + i, 1));
  return accumulator.Take();
}

void ExpectNear(const at::Tensor& got, const at::Tensor& wanted, const char* what) {
  ASSERT_TRUE(got.defined() && wanted.defined()) << what;
  EXPECT_TRUE(at::allclose(got, wanted, 1e-4, 1e-3)) << what << " " << (got - wanted).abs().max();
}

// Five sequences on one rank, and on several: with seven ranks two have none.
TEST(ShareStatistics, MakesSharesTheWhole) {
  at::manual_seed(3);
  const at::Tensor data = at::randn({5, 9, kFeatures}).to(at::kBFloat16);
  const method::StatisticsNeeds needs = Everything();
  const method::InputStatistics whole = Gather(data, needs, {0, 5});
  for (const int size : {2, 3, 7}) {
    std::vector<method::InputStatistics> of_rank(size);
    testing::RunRanks(size, [&](collective::Group& group) {
      method::InputStatistics& mine = of_rank[group.rank()];
      mine = Gather(data, needs, ShareOf(5, group.rank(), size));
      const absl::Status status = ShareStatistics(group, needs, kFeatures, at::TensorOptions(at::kBFloat16), mine);
      ASSERT_TRUE(status.ok()) << status;
    });
    for (const method::InputStatistics& one : of_rank) {
      ExpectNear(one.second_moment, whole.second_moment, "second moment");
      ExpectNear(one.square_sum, whole.square_sum, "square sum");
      ExpectNear(one.absolute_sum, whole.absolute_sum, "absolute sum");
      ExpectNear(one.sum, whole.sum, "sum");
      ExpectNear(one.variance_sum, whole.variance_sum, "variance");
      EXPECT_TRUE(one.absolute_max.equal(whole.absolute_max));
      EXPECT_TRUE(one.sample.equal(whole.sample));
      EXPECT_EQ(one.tokens, 45);
      EXPECT_EQ(one.sequences, 5);
      // To the bit, or the ranks would solve different problems.
      EXPECT_TRUE(one.second_moment.equal(of_rank[0].second_moment));
      EXPECT_TRUE(one.second_moment.equal(one.second_moment.t()));
      EXPECT_TRUE(one.sum.equal(of_rank[0].sum));
    }
  }
}

TEST(ShareStatistics, SumsWhatIsThereAlone) {
  const at::Tensor data = at::randn({4, 6, kFeatures});
  const method::StatisticsNeeds needs{.square_sum = true};
  const method::InputStatistics whole = Gather(data, needs, {0, 4});
  testing::RunRanks(2, [&](collective::Group& group) {
    method::InputStatistics mine = Gather(data, needs, ShareOf(4, group.rank(), 2));
    ASSERT_TRUE(ShareStatistics(group, needs, kFeatures, at::TensorOptions(at::kFloat), mine).ok());
    ExpectNear(mine.square_sum, whole.square_sum, "square sum");
    EXPECT_FALSE(mine.second_moment.defined() || mine.sum.defined() || mine.sample.defined());
  });
}

}  // namespace
}  // namespace calipress::engine
