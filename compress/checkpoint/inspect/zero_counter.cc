// checkpoint::ZeroCounter.
#include <algorithm>

#include "compress/checkpoint/inspect/inspect.h"

namespace calipress::checkpoint {

void ZeroCounter::Add(const void* rows, int64_t count) {
  is_zero_.resize(in_);
  const auto* number = static_cast<const unsigned char*>(rows);
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < in_; ++i, number += width_) {
      // Little-endian: the sign, which zero may have, is the highest bit of the last byte.
      unsigned bits = number[width_ - 1] & 0x7fu;
      for (int64_t byte = 0; byte + 1 < width_; ++byte) bits |= number[byte];
      is_zero_[i] = bits == 0 ? 1 : 0;
    }
    zeros_ += std::count(is_zero_.begin(), is_zero_.end(), 1);
    for (int kind = 0; kind < 2; ++kind) {
      const int run = kRuns[kind];
      // A broken run at the end of a row is no run.
      if (in_ % run != 0) least_[kind] = 0;
      for (int64_t i = 0; i + run <= in_ && least_[kind] > 0; i += run) {
        const auto found = std::count(is_zero_.begin() + i, is_zero_.begin() + i + run, 1);
        least_[kind] = std::min(least_[kind], static_cast<int>(found));
      }
    }
    any_ = true;
  }
}

ZeroCount ZeroCounter::Result() const {
  ZeroCount count{zeros_, 0, 0};
  if (!any_) return count;
  const int kind = least_[1] > 2 * least_[0] ? 1 : 0;
  if (least_[kind] > 0) {
    count.run_zeros = least_[kind];
    count.of = kRuns[kind];
  }
  return count;
}

}  // namespace calipress::checkpoint
