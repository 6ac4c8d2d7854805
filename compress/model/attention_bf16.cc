// Rows of queries go in blocks of 12 against panels of 32 keys: the scores of a block lie in cache as a whole, so the
// softmax needs no second pass over the keys. Products run on vdpbf16ps, which multiplies pairs of neighbours.
#include "compress/model/attention_bf16.h"

#include <algorithm>
#include <cmath>

#include "compress/tensor/aligned_buffer.h"
#include "compress/tensor/cpu_features.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::model {
namespace {

constexpr int64_t kRows = 12;             // of a block; 12 x 2 sums fill 24 of 32 vector registers
constexpr int64_t kColumns = 32;          // of a panel
constexpr int64_t kItemRows = 8 * kRows;  // of one piece of work

int64_t RoundUp(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

}  // namespace
}  // namespace calipress::model

#if defined(__x86_64__)

#include <immintrin.h>

#define CALIPRESS_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace calipress::model {
namespace {

// c[12 x 32] = left[12 x 2 pairs] times a panel. Row i of left is `left_stride` words (pairs of bf16) after row i - 1;
// the panel has 32 words for each pair.
CALIPRESS_AVX512_BF16 void MultiplyBlock(const uint32_t* left, int64_t left_stride, const uint32_t* panel,
                                         int64_t pairs, float* c, int64_t c_stride) {
  __m512 sum[kRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512bh right_0 = (__m512bh)_mm512_loadu_si512(panel);
    const __m512bh right_1 = (__m512bh)_mm512_loadu_si512(panel + 16);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const __m512bh broadcast = (__m512bh)_mm512_set1_epi32(static_cast<int>(left[i * left_stride + p]));
      sum[i][0] = _mm512_dpbf16_ps(sum[i][0], broadcast, right_0);
      sum[i][1] = _mm512_dpbf16_ps(sum[i][1], broadcast, right_1);
    }
    panel += kColumns;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    _mm512_storeu_ps(c + i * c_stride, sum[i][0]);
    _mm512_storeu_ps(c + i * c_stride + 16, sum[i][1]);
  }
}

// e^x for x <= 0, relative error below 3e-7 (Cephes' polynomial).
CALIPRESS_AVX512_BF16 inline __m512 Exp(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 y = _mm512_set1_ps(1.9875691500e-4f);
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.3981999507e-3f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(8.3334519073e-3f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(4.1665795894e-2f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.6666665459e-1f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(5.0000001201e-1f));
  y = _mm512_fmadd_ps(_mm512_mul_ps(y, r), r, r);
  return _mm512_scalef_ps(_mm512_add_ps(y, _mm512_set1_ps(1.0f)), n);
}

// Lanes of the keys [key, key + 16) that lie in [first, last].
inline __mmask16 Seen(int64_t key, int64_t first, int64_t last) {
  if (key >= first && key + 15 <= last) return 0xffff;
  const int64_t low = std::clamp<int64_t>(first - key, 0, 16);
  const int64_t high = std::clamp<int64_t>(last - key + 1, 0, 16);
  return static_cast<__mmask16>(((1u << high) - 1) & ~((1u << low) - 1));
}

// One row: scores of the keys [begin, begin + count) become probabilities without their divisor, as bf16, zero outside
// of [first, last]. Returns the divisor.
CALIPRESS_AVX512_BF16 float Softmax(const float* scores, int64_t begin, int64_t count, int64_t first, int64_t last,
                                    float scale, uint16_t* probabilities) {
  // Vectors with a seen key in them; the others are set to zero below.
  const int64_t from = std::max<int64_t>(0, (first - begin) / 16 * 16);
  const int64_t to = std::min(count, RoundUp(last + 1 - begin, 16));
  __m512 largest = _mm512_set1_ps(-INFINITY);
  for (int64_t k = from; k < to; k += 16) {
    const __m512 x = _mm512_loadu_ps(scores + k);
    largest = _mm512_mask_max_ps(largest, Seen(begin + k, first, last), largest, x);
  }
  const __m512 scales = _mm512_set1_ps(scale);
  const __m512 shift = _mm512_set1_ps(_mm512_reduce_max_ps(largest) * scale);
  __m512 sum = _mm512_setzero_ps();
  const __m256i zero = _mm256_setzero_si256();
  for (int64_t k = 0; k < from; k += 16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(probabilities + k), zero);
  for (int64_t k = from; k < to; k += 16) {
    const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(scores + k), scales, shift);
    const __m512 p = _mm512_maskz_mov_ps(Seen(begin + k, first, last), Exp(x));
    sum = _mm512_add_ps(sum, p);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(probabilities + k), (__m256i)_mm512_cvtneps_pbh(p));
  }
  for (int64_t k = to; k < count; k += 16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(probabilities + k), zero);
  return _mm512_reduce_add_ps(sum);
}

CALIPRESS_AVX512_BF16 void StoreRow(const float* sums, int64_t size, float divisor, uint16_t* out) {
  const __m512 factor = _mm512_set1_ps(1.0f / divisor);
  for (int64_t i = 0; i < size; i += 16) {
    const __mmask16 mask = size - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (size - i)) - 1);
    const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(sums + i), factor);
    _mm256_mask_storeu_epi16(out + i, mask, (__m256i)_mm512_cvtneps_pbh(x));
  }
}

// Keys and values of one sequence and head, as panels. A key panel is [head_dim / 2] pairs of 32 keys; a value panel is
// [keys / 2] pairs of 32 dimensions. What is beyond the length or the head is zero.
struct PackedHead {
  const uint32_t* keys;
  const uint32_t* values;
};

void PackKeys(const AttentionShape& shape, const uint16_t* key, uint32_t* out) {
  const int64_t pairs = shape.head_dim / 2;
  const int64_t stride = shape.kv_heads * shape.head_dim;
  for (int64_t panel = 0; panel < shape.length; panel += kColumns) {
    const int64_t count = std::min(kColumns, shape.length - panel);
    if (count < kColumns) std::fill_n(out, pairs * kColumns, 0u);
    for (int64_t j = 0; j < count; ++j) {
      const auto* row = reinterpret_cast<const uint32_t*>(key + (panel + j) * stride);
      for (int64_t p = 0; p < pairs; ++p) out[p * kColumns + j] = row[p];
    }
    out += pairs * kColumns;
  }
}

void PackValues(const AttentionShape& shape, const uint16_t* value, uint32_t* out) {
  const int64_t stride = shape.kv_heads * shape.head_dim;
  const int64_t padded_length = RoundUp(shape.length, kColumns);
  for (int64_t panel = 0; panel < shape.head_dim; panel += kColumns) {
    const int64_t width = std::min(kColumns, shape.head_dim - panel);
    for (int64_t k = 0; k < padded_length; k += 2) {
      const uint16_t* first = value + k * stride + panel;
      const uint16_t* second = first + stride;
      for (int64_t j = 0; j < kColumns; ++j) {
        const uint32_t low = j < width && k < shape.length ? first[j] : 0u;
        const uint32_t high = j < width && k + 1 < shape.length ? second[j] : 0u;
        out[j] = low | (high << 16);
      }
      out += kColumns;
    }
  }
}

struct Scratch {
  explicit Scratch(const AttentionShape& shape)
      : key_stride(RoundUp(shape.length, kColumns)),
        out_stride(RoundUp(shape.head_dim, kColumns)),
        scores(tensor::MakeAlignedBuffer<float>(kRows * key_stride)),
        probabilities(tensor::MakeAlignedBuffer<uint16_t>(kRows * key_stride)),
        sums(tensor::MakeAlignedBuffer<float>(kRows * out_stride)) {}
  int64_t key_stride;
  int64_t out_stride;
  tensor::AlignedBuffer<float> scores;
  tensor::AlignedBuffer<uint16_t> probabilities;
  tensor::AlignedBuffer<float> sums;
};

// Rows [wanted, row + 12) of the block of queries at `row`; query and out point at position 0 of the head.
void AttendBlock(const AttentionShape& shape, const PackedHead& head, int64_t row, int64_t wanted,
                 const uint16_t* query, uint16_t* out, Scratch& scratch) {
  const int64_t pairs = shape.head_dim / 2;
  const int64_t stride = shape.heads * shape.head_dim;
  const int64_t window = shape.window > 0 ? shape.window : shape.length;
  const int64_t begin = std::max<int64_t>(0, row - window + 1) / kColumns * kColumns;
  const int64_t end = RoundUp(row + kRows, kColumns);
  const auto* left = reinterpret_cast<const uint32_t*>(query + row * stride);
  for (int64_t k = begin; k < end; k += kColumns) {
    MultiplyBlock(left, stride / 2, head.keys + k * pairs, pairs, scratch.scores.get() + (k - begin),
                  scratch.key_stride);
  }
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
  float divisors[kRows];
  for (int64_t i = 0; i < kRows; ++i) {
    const int64_t position = row + i;
    divisors[i] = Softmax(scratch.scores.get() + i * scratch.key_stride, begin, end - begin,
                          std::max<int64_t>(0, position - window + 1), position, scale,
                          scratch.probabilities.get() + i * scratch.key_stride);
  }
  const auto* probabilities = reinterpret_cast<const uint32_t*>(scratch.probabilities.get());
  const int64_t panel_words = RoundUp(shape.length, kColumns) / 2 * kColumns;
  for (int64_t column = 0; column < shape.head_dim; column += kColumns) {
    const uint32_t* panel = head.values + column / kColumns * panel_words + begin / 2 * kColumns;
    MultiplyBlock(probabilities, scratch.key_stride / 2, panel, (end - begin) / 2, scratch.sums.get() + column,
                  scratch.out_stride);
  }
  for (int64_t i = wanted - row; i < kRows; ++i) {
    StoreRow(scratch.sums.get() + i * scratch.out_stride, shape.head_dim, divisors[i], out + (row + i) * stride);
  }
}

}  // namespace

bool CanAttendBf16(const AttentionShape& shape) {
  static const bool suits = tensor::CpuHasFastAvx512Bf16() && !tensor::CpuHasAmxBf16();
  return suits && shape.head_dim % 2 == 0 && shape.head_dim > 0 && shape.length >= kRows;
}

void AttendBf16(const AttentionShape& shape, const uint16_t* query, const uint16_t* key, const uint16_t* value,
                uint16_t* out) {
  const int64_t key_words = RoundUp(shape.length, kColumns) * shape.head_dim / 2;
  const int64_t value_words = RoundUp(shape.length, kColumns) / 2 * RoundUp(shape.head_dim, kColumns);
  const int64_t kv_count = shape.batch * shape.kv_heads;
  const auto keys = tensor::MakeAlignedBuffer<uint32_t>(kv_count * key_words);
  const auto values = tensor::MakeAlignedBuffer<uint32_t>(kv_count * value_words);
  tensor::ForEachItem(kv_count, [&](int64_t item) {
    const int64_t sequence = item / shape.kv_heads * shape.length * shape.kv_heads * shape.head_dim;
    const int64_t start = sequence + item % shape.kv_heads * shape.head_dim;
    PackKeys(shape, key + start, keys.get() + item * key_words);
    PackValues(shape, value + start, values.get() + item * value_words);
  });
  const int64_t pieces = (shape.length + kItemRows - 1) / kItemRows;
  const int64_t group = shape.heads / shape.kv_heads;
  tensor::ForEachItem(shape.batch * shape.heads * pieces, [&](int64_t item) {
    const int64_t piece = pieces - 1 - item % pieces;  // the long ones first
    const int64_t head = item / pieces % shape.heads;
    const int64_t batch = item / pieces / shape.heads;
    const int64_t kv = batch * shape.kv_heads + head / group;
    const PackedHead packed = {keys.get() + kv * key_words, values.get() + kv * value_words};
    const int64_t start = batch * shape.length * shape.heads * shape.head_dim + head * shape.head_dim;
    Scratch scratch(shape);
    const int64_t end = std::min(shape.length, (piece + 1) * kItemRows);
    for (int64_t row = piece * kItemRows; row < end; row += kRows) {
      // The last block steps back to be whole; its first rows are done already.
      const int64_t block = std::min(row, shape.length - kRows);
      AttendBlock(shape, packed, block, row, query + start, out + start, scratch);
    }
  });
}

}  // namespace calipress::model

#else

namespace calipress::model {

bool CanAttendBf16(const AttentionShape&) { return false; }
void AttendBf16(const AttentionShape&, const uint16_t*, const uint16_t*, const uint16_t*, uint16_t*) {
  __builtin_trap();
}

}  // namespace calipress::model

#endif
