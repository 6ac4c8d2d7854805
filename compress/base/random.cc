#include "compress/base/random.h"

namespace calipress {
namespace {

std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

}  // namespace

uint32_t RandomStream::Next() {
  if (used_ == 4) {
    block_ = Philox({static_cast<uint32_t>(counter_), static_cast<uint32_t>(counter_ >> 32),
                     static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                    {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)});
    ++counter_;
    used_ = 0;
  }
  return block_[used_++];
}

uint64_t RandomStream::Below(uint64_t bound) {
  const uint64_t limit = ~uint64_t{0} - (~uint64_t{0} % bound + 1) % bound;
  for (;;) {
    const uint64_t high = Next();
    const uint64_t value = high << 32 | Next();
    if (value <= limit) return value % bound;
  }
}

double RandomStream::Uniform() {
  const uint64_t high = Next();
  return static_cast<double>((high << 32 | Next()) >> 11) * 0x1.0p-53;
}

}  // namespace calipress
