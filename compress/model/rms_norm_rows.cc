#include "compress/model/rms_norm_rows.h"

#include <algorithm>
#include <cmath>

#include "compress/model/row_kernel.h"

namespace calipress::model {
namespace {

// ATen's sums run on vectors of 8 floats even where the processor has wider ones; rows below that, on scalars.
constexpr int kVector = 8;
constexpr int kChains = 4;  // independent sums per vector lane
constexpr int kLevels = 4;  // of the cascade

// Sum of x^2 in the order of ATen's vectorised inner sum (aten/src/ATen/native/cpu/SumKernel.cpp): four chains of
// vectors, each a cascade of four levels, then the lanes one after the other.
template <int kLanes>
CALIPRESS_INLINE float SumSquares(const float* x, int64_t size) {
  const int64_t vectors = size / kLanes;
  const int64_t steps = vectors / kChains;
  int64_t log = 0;
  while ((int64_t{1} << log) < steps) ++log;
  const int64_t level_power = std::max<int64_t>(4, log / kLevels);
  const int64_t level_step = int64_t{1} << level_power;
  const int64_t level_mask = level_step - 1;

  float sums[kLevels][kChains * kLanes] = {};
  constexpr int kWidth = kChains * kLanes;
  int64_t i = 0;
  while (i + level_step <= steps) {
    for (int64_t j = 0; j < level_step; ++j, ++i) {
      const float* row = x + i * kWidth;
      for (int k = 0; k < kWidth; ++k) sums[0][k] += row[k] * row[k];
    }
    for (int64_t level = 1; level < kLevels; ++level) {
      for (int k = 0; k < kWidth; ++k) {
        sums[level][k] += sums[level - 1][k];
        sums[level - 1][k] = 0.0f;
      }
      if ((i & (level_mask << (level * level_power))) != 0) break;
    }
  }
  for (; i < steps; ++i) {
    const float* row = x + i * kWidth;
    for (int k = 0; k < kWidth; ++k) sums[0][k] += row[k] * row[k];
  }
  for (int level = 1; level < kLevels; ++level) {
    for (int k = 0; k < kWidth; ++k) sums[0][k] += sums[level][k];
  }
  float* total = sums[0];
  for (int64_t v = steps * kChains; v < vectors; ++v) {
    const float* row = x + v * kLanes;
    for (int k = 0; k < kLanes; ++k) total[k] += row[k] * row[k];
  }
  for (int chain = 1; chain < kChains; ++chain) {
    for (int k = 0; k < kLanes; ++k) total[k] += total[chain * kLanes + k];
  }
  float sum = 0.0f;
  for (int64_t k = vectors * kLanes; k < size; ++k) sum += x[k] * x[k];
  for (int k = 0; k < kLanes; ++k) sum += total[k];
  return sum;
}

template <typename T>
struct NormKernel {
  static CALIPRESS_INLINE void Run(const T* input, const T* weight, float eps, int64_t count, int64_t size,
                                   float* scratch, T* output) {
    for (int64_t row = 0; row < count; ++row) {
      const T* in = input + row * size;
      T* out = output + row * size;
      for (int64_t i = 0; i < size; ++i) scratch[i] = Widen(in[i]);
      const float variance = (size < kVector ? SumSquares<1>(scratch, size) : SumSquares<kVector>(scratch, size)) /
                             static_cast<float>(size);
      const float scale = 1.0f / std::sqrt(variance + eps);
      for (int64_t i = 0; i < size; ++i) {
        Narrow(RoundTo<T>(scratch[i] * scale) * Widen(weight[i]), &out[i]);
      }
    }
  }
};

}  // namespace

void RmsNormRows(const float* input, const float* weight, float eps, int64_t count, int64_t size, float* scratch,
                 float* output) {
  RunKernel<NormKernel<float>>(input, weight, eps, count, size, scratch, output);
}

void RmsNormRows(const uint16_t* input, const uint16_t* weight, float eps, int64_t count, int64_t size, float* scratch,
                 uint16_t* output) {
  RunKernel<NormKernel<uint16_t>>(input, weight, eps, count, size, scratch, output);
}

}  // namespace calipress::model
