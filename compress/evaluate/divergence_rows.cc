#include "compress/evaluate/divergence_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

// Compiled for several instruction sets, chosen at load time; loops below are written for the vectoriser.
#if defined(__x86_64__)
#define CALIPRESS_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CALIPRESS_CLONES
#endif
#define CALIPRESS_INLINE inline __attribute__((always_inline))

namespace calipress::evaluate {
namespace {

constexpr int64_t kPiece = 2048;  // added up in fp32, then in double
constexpr float kLowest = -1e30f;
constexpr double kLn2 = 0.693147180559945309417;

CALIPRESS_INLINE float FromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
CALIPRESS_INLINE uint32_t ToBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Written so that NaN passes.
CALIPRESS_INLINE float Bounded(float logit) { return logit < kLowest ? kLowest : logit; }

// e^x for x <= 0, relative error below 3e-7 (Cephes' polynomial); 0 below -87.3.
CALIPRESS_INLINE float Exp(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float bounded = x < -87.3f ? -87.3f : x;
  const float shifted = bounded * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = (y * r) * r + r + 1.0f;
  y = y * FromBits((ToBits(shifted) << 23) + 0x3f800000u);
  return x < -87.3f ? 0.0f : y;
}

// ln(x) for x in [1/2, 1], relative error below 2e-7 (Cephes' polynomial); exactly 0 at 1.
CALIPRESS_INLINE float LogOfHalfToOne(float x) {
  const bool low = x < 0.707106781186547524f;
  const float z = low ? (x + x) - 1.0f : x - 1.0f;
  const float e = low ? -1.0f : 0.0f;
  const float z2 = z * z;
  float y = 7.0376836292e-2f;
  y = y * z - 1.1514610310e-1f;
  y = y * z + 1.1676998740e-1f;
  y = y * z - 1.2420140846e-1f;
  y = y * z + 1.4249322787e-1f;
  y = y * z - 1.6668057665e-1f;
  y = y * z + 2.0000714765e-1f;
  y = y * z - 2.4999993993e-1f;
  y = y * z + 3.3333331174e-1f;
  y = y * z * z2;
  y = y + e * -2.12194440e-4f;
  y = y - 0.5f * z2;
  return z + y + e * 0.693359375f;
}

CALIPRESS_CLONES float Largest(const float* x, int64_t size) {
  float largest = kLowest;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < size; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

CALIPRESS_CLONES float SumExp(const float* x, int64_t size, float shift) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += Exp(Bounded(x[i]) - shift);
  return sum;
}

// Adds up p (log p - log q) and p (log p - log m) + q (log q - log m), m = (p + q) / 2. With r the smaller
// probability over the larger, log m = log(larger) + log((1 + r) / 2): no probability is divided by another.
CALIPRESS_CLONES void Divergence(const float* reference, const float* test, int64_t size, float reference_shift,
                                 float test_shift, float* kl, float* js) {
  float kl_sum = 0.0f;
  float js_sum = 0.0f;
#pragma omp simd reduction(+ : kl_sum, js_sum)
  for (int64_t i = 0; i < size; ++i) {
    const float log_p = Bounded(reference[i]) - reference_shift;
    const float log_q = Bounded(test[i]) - test_shift;
    const float p = Exp(log_p);
    const float q = Exp(log_q);
    const float difference = log_p - log_q;
    const float larger = difference > 0.0f ? log_p : log_q;
    const float ratio = Exp(difference > 0.0f ? -difference : difference);
    const float log_m = larger + LogOfHalfToOne(0.5f * ratio + 0.5f);
    kl_sum += p * difference;
    js_sum += p * (log_p - log_m) + q * (log_q - log_m);
  }
  *kl = kl_sum;
  *js = js_sum;
}

CALIPRESS_CLONES void Widen(const uint16_t* bits, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = FromBits(static_cast<uint32_t>(bits[i]) << 16);
}

// Not below zero; NaN passes.
double NotNegative(double x) { return x < 0.0 ? 0.0 : x; }

}  // namespace

void WidenBfloat16(const uint16_t* bits, int64_t size, float* out) { Widen(bits, size, out); }

RowSummary SummarizeRow(const float* logits, int64_t size) {
  RowSummary summary;
  summary.largest = Largest(logits, size);
  summary.first = std::find(logits, logits + size, summary.largest) - logits;
  double sum = 0.0;
  for (int64_t begin = 0; begin < size; begin += kPiece) {
    sum += SumExp(logits + begin, std::min(kPiece, size - begin), summary.largest);
  }
  summary.log_sum_exp = static_cast<double>(summary.largest) + std::log(sum);
  return summary;
}

void DivergenceOfRows(const float* reference, const RowSummary& reference_summary, const float* test,
                      const RowSummary& test_summary, int64_t size, double* kl, double* js) {
  const float reference_shift = static_cast<float>(reference_summary.log_sum_exp);
  const float test_shift = static_cast<float>(test_summary.log_sum_exp);
  double kl_sum = 0.0;
  double js_sum = 0.0;
  for (int64_t begin = 0; begin < size; begin += kPiece) {
    float kl_piece = 0.0f;
    float js_piece = 0.0f;
    Divergence(reference + begin, test + begin, std::min(kPiece, size - begin), reference_shift, test_shift, &kl_piece,
               &js_piece);
    kl_sum += kl_piece;
    js_sum += js_piece;
  }
  *kl = NotNegative(kl_sum);
  const double half = NotNegative(0.5 * js_sum);
  *js = half > kLn2 ? kLn2 : half;
}

}  // namespace calipress::evaluate
