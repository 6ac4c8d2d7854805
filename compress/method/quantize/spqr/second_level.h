#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "compress/checkpoint/spqr_layout.h"

namespace calipress::method::spqr {

// The grid of one run of scales or zero points: value = code * step + low, with step and low in the checkpoint's dtype.
// (The reference stores a zero point instead of `low`; it has no finite one where all values of a run are equal.)
template <typename T>
struct RunGrid {
  T step = T(0.0f);
  T low = T(0.0f);

  // What a loader computes.
  float Value(int code) const { return checkpoint::SpqrLevel(code, static_cast<float>(step), static_cast<float>(low)); }
};

// Saturates where T would overflow.
template <typename T>
T RoundTo(double value) {
  const double limit = static_cast<double>(std::numeric_limits<T>::max());
  return static_cast<T>(static_cast<float>(std::clamp(value, -limit, limit)));
}

// Fits a grid of `levels` + 1 points to the values' range, and takes the nearest code of each. `positive`: the values
// are, and so is what the codes stand for.
template <typename T>
RunGrid<T> QuantizeRun(const double* values, int64_t count, int levels, bool positive, uint8_t* codes) {
  const auto [smallest, largest] = std::minmax_element(values, values + count);
  RunGrid<T> grid;
  grid.low = RoundTo<T>(*smallest);
  if (positive && !(static_cast<float>(grid.low) > 0.0f)) grid.low = std::numeric_limits<T>::denorm_min();
  const double low = static_cast<float>(grid.low);
  grid.step = RoundTo<T>(std::max(0.0, (*largest - low) / levels));
  const double step = static_cast<float>(grid.step);
  for (int64_t i = 0; i < count; ++i) {
    const double code = step > 0.0 ? std::nearbyint((values[i] - low) / step) : 0.0;
    codes[i] = static_cast<uint8_t>(std::clamp(code, 0.0, static_cast<double>(levels)));
  }
  return grid;
}

}  // namespace calipress::method::spqr
