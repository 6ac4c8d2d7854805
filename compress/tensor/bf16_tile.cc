#include "compress/tensor/bf16_tile.h"

#include <algorithm>

#if defined(__x86_64__)

#include <immintrin.h>

#define CALIPRESS_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace calipress::tensor {

CALIPRESS_AVX512_BF16 void PackLeft(const uint16_t* x, int64_t stride, int64_t rows, int64_t column, int64_t columns,
                                    uint32_t* out) {
  const int width = static_cast<int>(std::min<int64_t>(kTileRows, columns - column));
  const __mmask16 mask = static_cast<__mmask16>((1u << width) - 1);
  for (int64_t t = 0; t < rows; t += 2) {
    const uint16_t* first = x + t * stride + column;
    __m512i pair = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, first));
    if (t + 1 < rows) {
      __m512i second = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, first + stride));
      pair = _mm512_or_si512(pair, _mm512_slli_epi32(second, 16));
    }
    _mm512_storeu_si512(out, pair);  // 4 words too many: the next pair's, or slack
    out += kTileRows;
  }
}

CALIPRESS_AVX512_BF16 void PackRight(const uint16_t* x, int64_t stride, int64_t rows, int64_t column, int64_t columns,
                                     uint32_t* out) {
  const int64_t width = std::min<int64_t>(kTileColumns, columns - column);
  const __mmask32 mask = width == 32 ? 0xffffffffu : (1u << width) - 1;
  alignas(64) uint16_t order[32];
  for (int i = 0; i < 16; ++i) {
    order[2 * i] = static_cast<uint16_t>(i);
    order[2 * i + 1] = static_cast<uint16_t>(32 + i);
  }
  const __m512i low = _mm512_load_si512(order);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t t = 0; t < rows; t += 2) {
    const uint16_t* row = x + t * stride + column;
    __m512i first = _mm512_maskz_loadu_epi16(mask, row);
    __m512i second = t + 1 < rows ? _mm512_maskz_loadu_epi16(mask, row + stride) : _mm512_setzero_si512();
    _mm512_storeu_si512(out, _mm512_permutex2var_epi16(first, low, second));
    _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi16(first, high, second));
    out += kTileColumns;
  }
}

CALIPRESS_AVX512_BF16 void MultiplyTile(const uint32_t* left, const uint32_t* right, int64_t pairs, int rows,
                                        int columns, float* c, int64_t stride) {
  __m512 sum[kTileRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i) {
    sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    // C is far away (third cache or memory) and rows lie on different pages.
    if (i < rows) {
      _mm_prefetch(reinterpret_cast<const char*>(c + i * stride), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(c + i * stride + 16), _MM_HINT_T0);
    }
  }
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512bh right_0 = (__m512bh)_mm512_loadu_si512(right);
    const __m512bh right_1 = (__m512bh)_mm512_loadu_si512(right + 16);
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) {
      const __m512bh broadcast = (__m512bh)_mm512_set1_epi32(static_cast<int>(left[i]));
      sum[i][0] = _mm512_dpbf16_ps(sum[i][0], broadcast, right_0);
      sum[i][1] = _mm512_dpbf16_ps(sum[i][1], broadcast, right_1);
    }
    left += kTileRows;
    right += kTileColumns;
  }
  const uint32_t valid = columns >= 32 ? 0xffffffffu : (1u << columns) - 1;
  const __mmask16 mask_0 = static_cast<__mmask16>(valid);
  const __mmask16 mask_1 = static_cast<__mmask16>(valid >> 16);
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i) {
    if (i >= rows) break;
    float* row = c + i * stride;
    _mm512_mask_storeu_ps(row, mask_0, _mm512_add_ps(_mm512_maskz_loadu_ps(mask_0, row), sum[i][0]));
    _mm512_mask_storeu_ps(row + 16, mask_1, _mm512_add_ps(_mm512_maskz_loadu_ps(mask_1, row + 16), sum[i][1]));
  }
}

}  // namespace calipress::tensor

#else

namespace calipress::tensor {

// Never chosen here: CpuHasAvx512Bf16() is false.
void PackLeft(const uint16_t*, int64_t, int64_t, int64_t, int64_t, uint32_t*) { __builtin_trap(); }
void PackRight(const uint16_t*, int64_t, int64_t, int64_t, int64_t, uint32_t*) { __builtin_trap(); }
void MultiplyTile(const uint32_t*, const uint32_t*, int64_t, int, int, float*, int64_t) { __builtin_trap(); }

}  // namespace calipress::tensor

#endif
