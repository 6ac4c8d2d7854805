#include "compress/model/decode_tile.h"

#include <cmath>

#include "compress/tensor/cpu_features.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace calipress::model {
namespace {

void AddPortable(const float* rows, const float* weight, int64_t count, float* sums, const LinesAhead&) {
  for (int64_t k = 0; k < count; ++k) {
    for (int64_t o = 0; o < kTileOutputs; ++o) {
      for (int64_t r = 0; r < kDecodeRows; ++r) {
        float& sum = sums[o * kDecodeRows + r];
        sum = std::fma(weight[o * kTileInputs + k], rows[k * kDecodeRows + r], sum);
      }
    }
  }
}

#if defined(__x86_64__)
// Lines fetched after every kRun inputs: all of them in the time of half a tile of bf16 weights.
constexpr int64_t kRun = 4;
constexpr int64_t kLinesOfRun = 2;

// 16 sums in registers: as many as two units of four cycles need, and half of them.
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))) void AddAvx512(const float* rows, const float* weight,
                                                                                 int64_t count, float* sums,
                                                                                 const LinesAhead& ahead) {
  __m512 low[kTileOutputs], high[kTileOutputs];
#pragma GCC unroll 8
  for (int o = 0; o < kTileOutputs; ++o) {
    low[o] = _mm512_load_ps(sums + o * kDecodeRows);
    high[o] = _mm512_load_ps(sums + o * kDecodeRows + 16);
  }
  const char* const* line = ahead.lines;
  const char* const* const last_line = ahead.lines + ahead.count;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = begin + kRun < count ? begin + kRun : count;
    for (int64_t k = begin; k < end; ++k) {
      const __m512 first = _mm512_load_ps(rows + k * kDecodeRows);
      const __m512 second = _mm512_load_ps(rows + k * kDecodeRows + 16);
#pragma GCC unroll 8
      for (int o = 0; o < kTileOutputs; ++o) {
        const __m512 wide = _mm512_set1_ps(weight[o * kTileInputs + k]);
        low[o] = _mm512_fmadd_ps(wide, first, low[o]);
        high[o] = _mm512_fmadd_ps(wide, second, high[o]);
      }
    }
#pragma GCC unroll 2
    for (int64_t i = 0; i < kLinesOfRun; ++i) {
      if (line != last_line) __builtin_prefetch(*line++);
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < kTileOutputs; ++o) {
    _mm512_store_ps(sums + o * kDecodeRows, low[o]);
    _mm512_store_ps(sums + o * kDecodeRows + 16, high[o]);
  }
}

__attribute__((target("avx2,fma"))) void AddAvx2(const float* rows, const float* weight, int64_t count, float* sums,
                                                 const LinesAhead& ahead) {
  const char* const* line = ahead.lines;
  const char* const* const last_line = ahead.lines + ahead.count;
  for (int64_t row = 0; row < kDecodeRows; row += 8) {
    __m256 sum[kTileOutputs];
#pragma GCC unroll 8
    for (int o = 0; o < kTileOutputs; ++o) sum[o] = _mm256_load_ps(sums + o * kDecodeRows + row);
    for (int64_t k = 0; k < count; ++k) {
      const __m256 x = _mm256_load_ps(rows + k * kDecodeRows + row);
#pragma GCC unroll 8
      for (int o = 0; o < kTileOutputs; ++o) {
        sum[o] = _mm256_fmadd_ps(_mm256_set1_ps(weight[o * kTileInputs + k]), x, sum[o]);
      }
      if (k % kRun == 0 && line != last_line) __builtin_prefetch(*line++);
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
