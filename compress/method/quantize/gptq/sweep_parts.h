#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include "compress/checkpoint/compressed_tensors.h"
#include "compress/method/quantize/gptq/feedback.h"
#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/method/quantize/grid.h"
#include "compress/tensor/aligned_buffer.h"

// What sweeps on the CPU share: GPTQ's, and SparseGPT's.
namespace calipress::method::gptq {

inline int64_t RoundUp(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Rows of one item of work. At most 256, so that feedback factors that were read for one tile serve the others from
// the second cache; small enough that every thread has some items, and several where there are many.
inline int64_t RowsPerItem(int64_t all_rows) {
  return std::min<int64_t>(RoundUp(all_rows / (2 * at::get_num_threads()) + 1, kTileRows), 256);
}

template <typename T>
constexpr Rounding RoundingOf() {
  if constexpr (std::is_same_v<T, at::BFloat16>) return Rounding::kBf16;
  if constexpr (std::is_same_v<T, at::Half>) return Rounding::kF16;
  return Rounding::kNone;
}

// Scales and multiples' limits of one weight, [groups][rows padded to 32].
struct TransposedGrid {
  TransposedGrid(const Grid& grid, const checkpoint::QuantizationScheme& scheme)
      : rows(RoundUp(grid.scales.size(0), kTileRows)),
        groups(grid.scales.size(1)),
        code_low(-std::ldexp(1.0f, scheme.bits - 1)) {
    scale = tensor::MakeAlignedBuffer<float>(rows * groups);
    low = tensor::MakeAlignedBuffer<float>(rows * groups);
    high = tensor::MakeAlignedBuffer<float>(rows * groups);
    const at::Tensor scales = grid.scales.to(at::kFloat).contiguous();
    const float* values = scales.const_data_ptr<float>();
    const int8_t* zeros = grid.zero_points.defined() ? grid.zero_points.const_data_ptr<int8_t>() : nullptr;
    const float code_high = -code_low - 1.0f;
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t r = 0; r < rows; ++r) {
        const bool real = r < grid.scales.size(0);
        const float zero = real && zeros != nullptr ? zeros[r * groups + g] : 0.0f;
        scale[g * rows + r] = real ? values[r * groups + g] : 1.0f;
        low[g * rows + r] = code_low - zero;
        high[g * rows + r] = code_high - zero;
      }
    }
  }
  // The grid of one column, for the rows of a tile from `row` on.
  void Point(int64_t group, int64_t row, int64_t column_of_block, SweepBlock* block) const {
    const int64_t at = group * rows + row;
    block->scale[column_of_block] = scale.get() + at;
    block->low[column_of_block] = low.get() + at;
    block->high[column_of_block] = high.get() + at;
  }
  // Codes of 32 multiples of one column.
  void Codes(int64_t group, int64_t row, const float* multiples, int8_t* codes) const {
    const float* lows = low.get() + group * rows + row;
    for (int64_t r = 0; r < kTileRows; ++r) {
      codes[r] = static_cast<int8_t>(static_cast<int32_t>(multiples[r] + (code_low - lows[r])));
    }
  }
  int64_t rows, groups;
  float code_low;  // the smallest code
  tensor::AlignedBuffer<float> scale, low, high;
};

// Feeds the errors of all columns before `first` to the targets of columns [first, first + count): the bulk of a
// sweep's work, a matrix product. `errors` [tiles][columns padded][32]; `targets` [tiles][panel][32].
inline void FeedTiles(const SweepKernel& kernel, const Feedback& feedback, const float* errors, int64_t tiles,
                      int64_t first, int64_t count, int64_t panel, float* targets) {
  constexpr int64_t kFeedColumns = 128;  // errors that are fed on at a time: 16 KiB of a tile
  for (int64_t from = 0; from < first; from += kFeedColumns) {
    const int64_t columns = std::min(kFeedColumns, first - from);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const float* error = errors + (tile * feedback.padded + from) * kTileRows;
      for (int64_t k = 0; k < count; k += kBlockColumns) {
        kernel.feed(error, feedback.At((first + k) / kBlockColumns, from), columns,
                    targets + (tile * panel + k) * kTileRows);
      }
    }
  }
}

}  // namespace calipress::method::gptq
