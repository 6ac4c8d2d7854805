#include "server/scheduler/plan.h"

#include <algorithm>

namespace calipress::scheduler {

std::vector<BlockRange> PlanBlocks(int blocks, int stages) {
  blocks = std::max(blocks, 1);
  stages = std::clamp(stages, 1, blocks);
  std::vector<BlockRange> ranges(stages);
  int next = 0;
  for (int rank = 0; rank < stages; ++rank) {
    const int length = blocks / stages + (rank < blocks % stages ? 1 : 0);
    ranges[rank] = {next, next + length};
    next += length;
  }
  return ranges;
}

std::vector<BlockRange> PlanReplicas(int blocks, int workers) {
  return std::vector<BlockRange>(std::max(workers, 1), BlockRange{0, std::max(blocks, 1)});
}

}  // namespace calipress::scheduler
