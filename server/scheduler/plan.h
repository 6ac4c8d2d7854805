#pragma once

#include <vector>

namespace calipress::scheduler {

// Blocks [first, end) of one stage.
struct BlockRange {
  int first = 0;
  int end = 0;
  bool operator==(const BlockRange&) const = default;
};

// Splits `blocks` into `stages` contiguous ranges in rank order whose lengths differ by one at most, longer ones first.
// With fewer blocks than stages there are as many stages as blocks; both are at least 1.
std::vector<BlockRange> PlanBlocks(int blocks, int stages);

// All of `blocks` for each of `workers`, who divide the samples instead. Both are at least 1.
std::vector<BlockRange> PlanReplicas(int blocks, int workers);

}  // namespace calipress::scheduler
