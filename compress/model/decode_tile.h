#pragma once

#include <cstdint>

namespace calipress::model {

// A linear of a decoding step works on 32 rows side by side, [features][32] in fp32, and on 8 outputs at a time.
inline constexpr int64_t kDecodeRows = 32;
inline constexpr int64_t kTileOutputs = 8;

// sums [8][32] += over k < count of weight[o][k] * rows[k][32], k ascending, one fused multiply-add after the other: a
// sum's bits depend neither on its neighbours nor on the instruction set. `rows` and `sums` lie on cache lines.
struct DecodeTile {
  const char* name;
  void (*add)(const float* rows, const float* const* weight, int64_t count, float* sums);
};

// Those that this processor can run, the fastest first; the last one runs anywhere.
struct DecodeTiles {
  const DecodeTile* tiles[3];
  int count = 0;
};
const DecodeTiles& AvailableDecodeTiles();

}  // namespace calipress::model
