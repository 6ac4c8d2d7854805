#include "compress/model/decode_tile.h"

#include <cmath>

#include "compress/tensor/cpu_features.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace calipress::model {
namespace {

void AddPortable(const float* rows, const float* const* weight, int64_t count, float* sums) {
  for (int64_t k = 0; k < count; ++k) {
    for (int64_t o = 0; o < kTileOutputs; ++o) {
      for (int64_t r = 0; r < kDecodeRows; ++r) {
        float& sum = sums[o * kDecodeRows + r];
        sum = std::fma(weight[o][k], rows[k * kDecodeRows + r], sum);
      }
    }
  }
}

#if defined(__x86_64__)
// 16 sums in registers: as many as two units of four cycles need, and half of them.
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))) void AddAvx512(const float* rows,
                                                                                 const float* const* weight,
                                                                                 int64_t count, float* sums) {
  __m512 low[kTileOutputs], high[kTileOutputs];
#pragma GCC unroll 8
  for (int o = 0; o < kTileOutputs; ++o) {
    low[o] = _mm512_load_ps(sums + o * kDecodeRows);
    high[o] = _mm512_load_ps(sums + o * kDecodeRows + 16);
  }
  const float *w0 = weight[0], *w1 = weight[1], *w2 = weight[2], *w3 = weight[3], *w4 = weight[4], *w5 = weight[5],
              *w6 = weight[6], *w7 = weight[7];
  for (int64_t k = 0; k < count; ++k) {
    const __m512 first = _mm512_load_ps(rows + k * kDecodeRows);
    const __m512 second = _mm512_load_ps(rows + k * kDecodeRows + 16);
    const float factor[kTileOutputs] = {w0[k], w1[k], w2[k], w3[k], w4[k], w5[k], w6[k], w7[k]};
#pragma GCC unroll 8
    for (int o = 0; o < kTileOutputs; ++o) {
      const __m512 wide = _mm512_set1_ps(factor[o]);
      low[o] = _mm512_fmadd_ps(wide, first, low[o]);
      high[o] = _mm512_fmadd_ps(wide, second, high[o]);
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < kTileOutputs; ++o) {
    _mm512_store_ps(sums + o * kDecodeRows, low[o]);
    _mm512_store_ps(sums + o * kDecodeRows + 16, high[o]);
  }
}

__attribute__((target("avx2,fma"))) void AddAvx2(const float* rows, const float* const* weight, int64_t count,
                                                 float* sums) {
  for (int64_t row = 0; row < kDecodeRows; row += 8) {
    __m256 sum[kTileOutputs];
#pragma GCC unroll 8
    for (int o = 0; o < kTileOutputs; ++o) sum[o] = _mm256_load_ps(sums + o * kDecodeRows + row);
    for (int64_t k = 0; k < count; ++k) {
      const __m256 x = _mm256_load_ps(rows + k * kDecodeRows + row);
#pragma GCC unroll 8
      for (int o = 0; o < kTileOutputs; ++o) sum[o] = _mm256_fmadd_ps(_mm256_set1_ps(weight[o][k]), x, sum[o]);
    }
#pragma GCC unroll 8
    for (int o = 0; o < kTileOutputs; ++o) _mm256_store_ps(sums + o * kDecodeRows + row, sum[o]);
  }
}

constexpr DecodeTile kAvx512{"avx512", AddAvx512};
constexpr DecodeTile kAvx2{"avx2", AddAvx2};
#endif
constexpr DecodeTile kPortable{"portable", AddPortable};

}  // namespace

const DecodeTiles& AvailableDecodeTiles() {
  static const DecodeTiles available = [] {
    DecodeTiles tiles;
#if defined(__x86_64__)
    if (tensor::CpuHasAvx512()) tiles.tiles[tiles.count++] = &kAvx512;
    if (tensor::CpuHasAvx2()) tiles.tiles[tiles.count++] = &kAvx2;
#endif
    tiles.tiles[tiles.count++] = &kPortable;
    return tiles;
  }();
  return available;
}

}  // namespace calipress::model
