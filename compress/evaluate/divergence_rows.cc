#include "compress/evaluate/divergence_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "compress/base/vector_clones.h"

#define CALIPRESS_INLINE inline __attribute__((always_inline))

namespace calipress::evaluate {
namespace {

// Sixteen sums side by side on every machine, whatever its vectors and the row's alignment: with no fused
// multiply-adds (CMakeLists.txt) a score is the same everywhere.
constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t Bits __attribute__((vector_size(kLanes * sizeof(int32_t))));

constexpr int64_t kPiece = 2048;  // added up in fp32, then in double
constexpr float kLowest = -1e30f;
constexpr double kLn2 = 0.693147180559945309417;

CALIPRESS_INLINE Lanes Fill(float x) { return Lanes{} + x; }

// Logits below the lowest, -inf among them, become the lowest; NaN stays.
CALIPRESS_INLINE Lanes Load(const float* x) {
  Lanes lanes;
  std::memcpy(&lanes, x, sizeof lanes);
  const Lanes lowest = Fill(kLowest);
  return lanes < lowest ? lowest : lanes;
}

// The rest of a row; missing lanes are the lowest logit, whose probability is 0.
CALIPRESS_INLINE Lanes LoadRest(const float* x, int64_t count) {
  Lanes lanes = Fill(kLowest);
  std::memcpy(&lanes, x, count * sizeof(float));
  const Lanes lowest = Fill(kLowest);
  return lanes < lowest ? lowest : lanes;
}

// e^x for x <= 0, relative error below 3e-7 (Cephes' polynomial); 0 below -87.3; NaN stays.
CALIPRESS_INLINE Lanes Exp(Lanes x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Lanes least = Fill(-87.3f);
  const Lanes bounded = x < least ? least : x;
  const Lanes shifted = bounded * 1.44269504088896341f + kRound;
  const Lanes n = shifted - kRound;
  const Lanes r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes y = Fill(1.9875691500e-4f);
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = (y * r) * r + r + 1.0f;
  const Bits power = ((Bits)shifted << 23) + 0x3f800000;
  y = y * (Lanes)power;
  return x < least ? Lanes{} : y;
}

// ln(x) for x in [1/2, 1], relative error below 2e-7 (Cephes' polynomial); exactly 0 at 1.
CALIPRESS_INLINE Lanes LogOfHalfToOne(Lanes x) {
  const Bits low = x < Fill(0.707106781186547524f);
  const Lanes z = (low ? x + x : x) - 1.0f;
  const Lanes e = low ? Fill(-1.0f) : Lanes{};
  const Lanes z2 = z * z;
  Lanes y = Fill(7.0376836292e-2f);
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

CALIPRESS_INLINE double Sum(Lanes lanes) {
  double sum = 0.0;
  for (int64_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

CALIPRESS_CLONES float Largest(const float* x, int64_t size) {
  Lanes lanes = Fill(kLowest);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const Lanes next = Load(x + i);
    lanes = next > lanes ? next : lanes;
  }
  const Lanes rest = LoadRest(x + i, size - i);
  lanes = rest > lanes ? rest : lanes;
  float largest = lanes[0];
  for (int64_t k = 1; k < kLanes; ++k) largest = std::max(largest, lanes[k]);
  return largest;
}

CALIPRESS_CLONES double SumExp(const float* x, int64_t size, float shift) {
  Lanes sum = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) sum += Exp(Load(x + i) - shift);
  if (i < size) sum += Exp(LoadRest(x + i, size - i) - shift);
  return Sum(sum);
}

// Adds p (log p - log q) and p (log p - log m) + q (log q - log m), m = (p + q) / 2. With r the smaller probability
// over the larger, log m = log(larger) + log((1 + r) / 2): no probability is divided by another.
CALIPRESS_INLINE void AddDivergence(Lanes log_p, Lanes log_q, Lanes* kl, Lanes* js) {
  const Lanes p = Exp(log_p);
  const Lanes q = Exp(log_q);
  const Lanes difference = log_p - log_q;
  const Bits positive = difference > Lanes{};
  const Lanes larger = positive ? log_p : log_q;
  const Lanes ratio = Exp(positive ? -difference : difference);
  const Lanes log_m = larger + LogOfHalfToOne(ratio * 0.5f + 0.5f);
  *kl += p * difference;
  *js += p * (log_p - log_m) + q * (log_q - log_m);
}

CALIPRESS_CLONES void Divergence(const float* reference, const float* test, int64_t size, float reference_shift,
                                 float test_shift, double* kl, double* js) {
  Lanes kl_sum = {};
  Lanes js_sum = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    AddDivergence(Load(reference + i) - reference_shift, Load(test + i) - test_shift, &kl_sum, &js_sum);
  }
  if (i < size) {
    AddDivergence(LoadRest(reference + i, size - i) - reference_shift, LoadRest(test + i, size - i) - test_shift,
                  &kl_sum, &js_sum);
  }
  *kl += Sum(kl_sum);
  *js += Sum(js_sum);
}

CALIPRESS_CLONES void Widen(const uint16_t* bits, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t wide = static_cast<uint32_t>(bits[i]) << 16;
    std::memcpy(&out[i], &wide, sizeof wide);
  }
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
    Divergence(reference + begin, test + begin, std::min(kPiece, size - begin), reference_shift, test_shift, &kl_sum,
               &js_sum);
  }
  *kl = NotNegative(kl_sum);
  const double half = NotNegative(0.5 * js_sum);
  *js = half > kLn2 ? kLn2 : half;
}

}  // namespace calipress::evaluate
