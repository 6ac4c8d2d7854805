#pragma once

#include <cstdint>

#include "compress/method/quantize/gptq/sweep_kernel.h"

namespace calipress::method::spqr {

// SpQR's inner loops on tiles of 32 rows. Everything is fp32 and on cache lines; "[k][32]" is 32 rows of one column
// side by side. What earlier columns feed into a block comes from the GPTQ kernel's `feed`.
using gptq::kBlockColumns;
using gptq::kTileRows;
using gptq::Rounding;

// A block of 8 columns as it stands before any of its group is quantized: the values that would undo all errors made
// so far at no cost. `current` holds weight plus feedback of everything before the block, and becomes those values.
struct CompensateBlock {
  float* current;         // [8][32]
  const float* weight;    // [8][32]
  const float* feedback;  // [8][8] as in gptq::SweepBlock
  float limit;            // largest value of the checkpoint's dtype
  float* shift;           // out [8][32]: weight - current, what later blocks of the group take feedback of
};

// Smallest and largest value of each row's group, without likely outliers.
struct GroupFit {
  const float* values;       // [width][32]
  const float* sensitivity;  // [width]: squared pivots; 0 for dead columns
  int64_t width;
  float levels;     // 2^bits - 1
  float threshold;  // a weight is left out where leaving it out lowers the group's error by more; infinite: no search
  bool shrink;      // then to the share of that range, of 1, 0.99 ... 0.21, where the group's error is least
  float cap;        // what a weight can cost there at most: above it, it is an outlier; infinite: none are kept
  float* scratch;   // [width][32]
  float* low;       // out [32]; 0 where all were left out
  float* high;      // out [32]
};

struct SweepBlock {
  float* target;          // [8][32] weight plus the feedback of all columns before the block; overwritten
  const float* weight;    // [8][32]
  const float* feedback;  // [8][8]
  const float* scale;     // [32] of the block's group, positive
  const float* zero;      // [32]
  const float* pivot;     // [8]; 0 for dead columns, which then have no outliers and no loss
  float levels;
  float threshold;  // of e^2; infinite: only what the dtype cannot hold is kept aside
  float limit;
  Rounding rounding;
  float* error;  // out [8][32]: weight - what a loader reads
  float* code;   // out [8][32]: 0 .. levels; -1: an outlier
  float* kept;   // out [8][32]: the value of an outlier
  float* loss;   // [32] += e^2
  float* shift;  // [32] += error^2, of columns that are not dead
};

struct TileKernel {
  const char* name;
  void (*compensate)(const CompensateBlock& block);
  void (*fit)(const GroupFit& group);
  void (*sweep)(const SweepBlock& block);
};

// Compiled from one source (tile_kernel_body.h) per instruction set.
extern const TileKernel kTileAvx512;
extern const TileKernel kTileAvx2;
extern const TileKernel kTilePortable;

// The fastest that this machine can run.
const TileKernel& BestTileKernel();

}  // namespace calipress::method::spqr
