#include "server/scheduler/plan.h"

#include <gtest/gtest.h>

namespace calipress::scheduler {
namespace {

TEST(PlanBlocks, BalancesContiguousRanges) {
  EXPECT_EQ(PlanBlocks(8, 3), (std::vector<BlockRange>{{0, 3}, {3, 6}, {6, 8}}));
  EXPECT_EQ(PlanBlocks(6, 2), (std::vector<BlockRange>{{0, 3}, {3, 6}}));
  EXPECT_EQ(PlanBlocks(5, 1), (std::vector<BlockRange>{{0, 5}}));
}

TEST(PlanBlocks, NeverMakesAnEmptyStage) { EXPECT_EQ(PlanBlocks(2, 5), (std::vector<BlockRange>{{0, 1}, {1, 2}})); }

TEST(PlanBlocks, CoversEveryBlockOnceForAllSmallCases) {
  for (int blocks = 1; blocks <= 40; ++blocks) {
    for (int stages = 1; stages <= blocks; ++stages) {
      const auto ranges = PlanBlocks(blocks, stages);
      ASSERT_EQ(ranges.size(), static_cast<size_t>(stages));
      int next = 0;
      for (const BlockRange& range : ranges) {
        ASSERT_EQ(range.first, next);
        ASSERT_GE(range.end - range.first, blocks / stages);
        ASSERT_LE(range.end - range.first, blocks / stages + 1);
        next = range.end;
      }
      ASSERT_EQ(next, blocks);
    }
  }
}

TEST(PlanReplicas, GivesEveryWorkerAllBlocks) {
  EXPECT_EQ(PlanReplicas(6, 3), (std::vector<BlockRange>{{0, 6}, {0, 6}, {0, 6}}));
  EXPECT_EQ(PlanReplicas(1, 0), (std::vector<BlockRange>{{0, 1}}));
}

}  // namespace
}  // namespace calipress::scheduler
