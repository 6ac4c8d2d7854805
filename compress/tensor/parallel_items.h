#pragma once

#include <atomic>
#include <cstdint>

#include <ATen/Parallel.h>

namespace calipress::tensor {

// Runs body(item) for every item in [0, count) on torch's threads; whoever is free takes the next one. For items whose
// results do not depend on the thread that computes them: then the result does not depend on the thread count.
template <typename Body>
void ForEachItem(int64_t count, const Body& body) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    for (int64_t item = next.fetch_add(1); item < count; item = next.fetch_add(1)) body(item);
  });
}

}  // namespace calipress::tensor
