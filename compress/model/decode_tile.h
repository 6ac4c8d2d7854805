#pragma once

#include <cstdint>

namespace calipress::model {

// A linear of a decoding step works on 32 rows side by side, [features][32] in fp32, and on 8 outputs and at most 128
// inputs at a time: with the sums of some tiles they stay in the first cache.
inline constexpr int64_t kDecodeRows = 32;
inline constexpr int64_t kTileOutputs = 8;
inline constexpr int64_t kTileInputs = 128;

// Cache lines that will be read soon.
struct LinesAhead {
  const char* lines[kTileOutputs * kTileInputs * sizeof(float) / 64];
  int64_t count = 0;
};

// sums [8][32] += over k < count of weight[o][k] * rows[k][32], k ascending, one fused multiply-add after the other: a
// sum's bits depend neither on its neighbours nor on the instruction set. `rows` and `sums` lie on cache lines; weight:
// [8][kTileInputs]. `ahead` is fetched between the products, which leave time for it.
struct DecodeTile {
  const char* name;
  void (*add)(const float* rows, const float* weight, int64_t count, float* sums, const LinesAhead& ahead);
};

// Those that this processor can run, the fastest first; the last one runs anywhere.
struct DecodeTiles {
  const DecodeTile* tiles[3];
  int count = 0;
};
const DecodeTiles& AvailableDecodeTiles();

}  // namespace calipress::model
