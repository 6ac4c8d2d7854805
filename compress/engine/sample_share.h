#pragma once

#include <cstdint>

namespace calipress::engine {

// Sequences [first, first + count) of a set.
struct SampleShare {
  int64_t first = 0;
  int64_t count = 0;
};

// The share of one of `ranks`: runs in rank order whose lengths differ by one at most. Where there are fewer than ranks
// some are empty.
inline SampleShare ShareOf(int64_t total, int rank, int ranks) {
  const int64_t first = total * rank / ranks;
  return {first, total * (rank + 1) / ranks - first};
}

}  // namespace calipress::engine
