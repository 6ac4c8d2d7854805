#pragma once

#include <array>
#include <cstdint>

namespace calipress {

// Philox4x32-10 (Salmon et al., SC'11): a counter-based stream. Draw i of stream s under a seed is a pure function of
// the three, so results do not depend on who draws, or in which order.
class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  // The next 32 bits, uniform.
  uint32_t Next();

  // Uniform in [0, bound), without bias. bound must be at least 1.
  uint64_t Below(uint64_t bound);

  // Uniform in [0, 1), 53 bits.
  double Uniform();

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t counter_ = 0;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace calipress
