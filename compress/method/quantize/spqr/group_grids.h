#pragma once

#include <cmath>
#include <cstdint>

#include "compress/method/quantize/spqr/second_level.h"

namespace calipress::method::spqr {

// The first-level grids of one column group over one run of rows, before they are quantized themselves: scale =
// (high - low) / levels, zero = -low / scale, so that code - zero times scale covers the range.
//
// A group of equal values c fits any scale. The reference takes the range -1..1, which spoils the run for all other
// rows; here it takes the run's mean scale, and of the zero points that have c on the grid the one nearest to the run's
// mean.
inline void RunGrids(const float* low, const float* high, int64_t count, int levels, double* scales, double* zeros) {
  double scale_sum = 0.0, zero_sum = 0.0, largest = 0.0;
  int64_t proper = 0;
  for (int64_t i = 0; i < count; ++i) {
    scales[i] = (static_cast<double>(high[i]) - static_cast<double>(low[i])) / levels;
    if (scales[i] > 0.0) {
      zeros[i] = -static_cast<double>(low[i]) / scales[i];
      scale_sum += scales[i];
      zero_sum += zeros[i];
      ++proper;
    } else {
      largest = std::max(largest, std::abs(static_cast<double>(low[i])));
    }
  }
  if (proper == count) return;
  const double scale = proper > 0 ? scale_sum / static_cast<double>(proper) : (largest > 0.0 ? largest : 1.0);
  const double zero = proper > 0 ? zero_sum / static_cast<double>(proper) : 0.0;
  for (int64_t i = 0; i < count; ++i) {
    if (scales[i] > 0.0) continue;
    const double multiple = static_cast<double>(low[i]) / scale;
    const double code = std::clamp(std::nearbyint(zero + multiple), 0.0, static_cast<double>(levels));
    scales[i] = scale;
    zeros[i] = code - multiple;
  }
}

}  // namespace calipress::method::spqr
