#pragma once

#include <cstdint>

namespace calipress::method::gptq {

// The two inner loops of a sweep, on tiles of 32 rows and blocks of 8 columns. Everything is fp32 and on cache lines;
// "[k][32]" is 32 rows of one column side by side.
inline constexpr int kTileRows = 32;
inline constexpr int kBlockColumns = 8;

// What the weight that is left is rounded to.
enum class Rounding { kBf16, kF16, kNone };

struct SweepBlock {
  // [8][32] in: weight plus the feedback of all columns before `begin`; out: columns from `end` on have that of the
  // columns swept too.
  float* target;
  const float* weight;    // [8][32]
  const float* feedback;  // [8][8]: entry [i][k], i < k, is what column k takes of column i's error
  // Columns [begin, end) are swept; the others of `error` and `multiple` stay as they are.
  int begin = 0, end = kBlockColumns;
  const float* scale[kBlockColumns];  // each [32]; scale[0] null: no grid, and targets are rounded to the dtype alone
  const float* low[kBlockColumns];    // smallest and largest multiple of the scale: code range - zero point
  const float* high[kBlockColumns];
  const float* keep;   // [8][32] 1, or 0 where the weight is pruned and stays zero; null: none is
  const float* pivot;  // [8] L_kk: what turns a residual into e
  Rounding rounding;
  float* error;     // out [8][32]: weight - value
  float* multiple;  // out [8][32]: code - zero point; without a grid the value itself
  float* loss;      // [32] += e^2
  float* shift;     // [32] += error^2
};

struct SweepKernel {
  const char* name;
  // target [8][32] += sum over j < count of error[j][32] * feedback[j][8], j ascending, one addition after the other.
  void (*feed)(const float* error, const float* feedback, int64_t count, float* target);
  void (*sweep)(const SweepBlock& block);
};

// Compiled from one source (sweep_kernel_body.h) per instruction set.
extern const SweepKernel kSweepAvx512;
extern const SweepKernel kSweepAvx2;
extern const SweepKernel kSweepPortable;

// The kernels that this machine can run, the fastest first.
const SweepKernel& BestSweepKernel();

}  // namespace calipress::method::gptq
