#include "compress/model/decode_rows.h"

#include <cmath>

#include "compress/base/exp_float.h"

namespace calipress::model {
namespace {

// 16 numbers: one register or several, the same operations on each.
typedef float Lanes __attribute__((vector_size(kCacheRun * 4), may_alias, aligned(4)));

template <typename T>
CALIPRESS_INLINE void LoadLanes(const T* from, Lanes* to) {
  float wide[kCacheRun];
  for (int i = 0; i < kCacheRun; ++i) wide[i] = Widen(from[i]);
  std::memcpy(to, wide, sizeof wide);
}

// scores of `runs` runs of positions from `begin` on, one head.
template <int runs, typename T>
CALIPRESS_INLINE void Scores(const CachedAttention<T>& work, const T* query, int64_t begin, float* scores) {
  Lanes sum[runs] = {};
  for (int64_t d = 0; d < work.dim; ++d) {
    const float q = Widen(query[d]) * work.scale;
#pragma GCC unroll 4
    for (int i = 0; i < runs; ++i) {
      Lanes key;
      LoadLanes(work.keys + d * work.capacity + begin + i * kCacheRun, &key);
      sum[i] += q * key;
    }
  }
  for (int i = 0; i < runs; ++i) std::memcpy(scores + begin + i * kCacheRun, &sum[i], sizeof(Lanes));
}

// `runs` runs of the output's dimensions from `first` on, one head, not yet divided.
template <int runs, typename T>
CALIPRESS_INLINE void Values(const CachedAttention<T>& work, const float* weights, int64_t first, float* out) {
  Lanes sum[runs] = {};
  for (int64_t j = work.begin; j < work.end; ++j) {
#pragma GCC unroll 4
    for (int i = 0; i < runs; ++i) {
      Lanes value;
      LoadLanes(work.values + j * work.width + first + i * kCacheRun, &value);
      sum[i] += weights[j] * value;
    }
  }
  for (int i = 0; i < runs; ++i) std::memcpy(out + first + i * kCacheRun, &sum[i], sizeof(Lanes));
}

template <typename T>
struct AttendKernel {
  static CALIPRESS_INLINE void Run(const CachedAttention<T>* pointer) {
    const CachedAttention<T>& work = *pointer;
    const int64_t begin = work.begin / kCacheRun * kCacheRun;
    const int64_t end = (work.end + kCacheRun - 1) / kCacheRun * kCacheRun;
    float* scores = work.scratch;
    float* sums = work.scratch + work.capacity;
    for (int64_t head = 0; head < work.times; ++head) {
      const T* query = work.query + head * work.dim;
      int64_t run = begin;
      for (; run + 4 * kCacheRun <= end; run += 4 * kCacheRun) Scores<4>(work, query, run, scores);
      for (; run < end; run += kCacheRun) Scores<1>(work, query, run, scores);

      float largest = scores[work.begin];
      for (int64_t j = work.begin; j < work.end; ++j) largest = scores[j] > largest ? scores[j] : largest;
      for (int64_t j = begin; j < end; ++j) scores[j] = ExpFloat(scores[j] - largest);
      for (int64_t j = begin; j < work.begin; ++j) scores[j] = 0.0f;
      for (int64_t j = work.end; j < end; ++j) scores[j] = 0.0f;
      float parts[kCacheRun] = {};
      for (int64_t j = begin; j < end; j += kCacheRun) {
        for (int i = 0; i < kCacheRun; ++i) parts[i] += scores[j + i];
      }
      float total = 0.0f;
      for (int i = 0; i < kCacheRun; ++i) total += parts[i];

      int64_t first = 0;
      for (; first + 4 * kCacheRun <= work.width; first += 4 * kCacheRun) Values<4>(work, scores, first, sums);
      for (; first + 2 * kCacheRun <= work.width; first += 2 * kCacheRun) Values<2>(work, scores, first, sums);
      for (; first < work.width; first += kCacheRun) Values<1>(work, scores, first, sums);
      for (int64_t d = 0; d < work.dim; ++d) Narrow(sums[d] / total, work.out + head * work.dim + d);
    }
  }
};

template <typename T, GateKind kind>
struct GateKernel {
  static CALIPRESS_INLINE float Activate(float x) {
    if (kind == GateKind::kSilu) return x / (1.0f + ExpFloat(-x));
    if (kind == GateKind::kGelu) return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    // tanh(z) = 1 - 2 / (1 + e^2z)
    const float z = 0.79788456f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (2.0f - 2.0f / (1.0f + ExpFloat(2.0f * z)));
  }
  static CALIPRESS_INLINE void Run(float* __restrict gate, const float* __restrict up, int64_t count) {
    for (int64_t i = 0; i < count; ++i) gate[i] = RoundTo<T>(RoundTo<T>(Activate(gate[i])) * up[i]);
  }
};

template <typename T>
struct WidenKernel {
  static CALIPRESS_INLINE void Run(const T* __restrict from, int64_t count, float* __restrict to) {
    for (int64_t i = 0; i < count; ++i) to[i] = Widen(from[i]);
  }
};

template <typename T>
struct FinishKernel {
  static CALIPRESS_INLINE void Run(float* sums, float bias, int64_t count) {
    for (int64_t i = 0; i < count; ++i) sums[i] = RoundTo<T>(sums[i] + bias);
  }
};

}  // namespace

void AttendCached(const CachedAttention<float>& work) { RunKernel<AttendKernel<float>>(&work); }
void AttendCached(const CachedAttention<uint16_t>& work) { RunKernel<AttendKernel<uint16_t>>(&work); }
void AttendCached(const CachedAttention<F16Bits>& work) { RunKernel<AttendKernel<F16Bits>>(&work); }

template <typename T>
void GateRow(GateKind kind, float* gate, const float* up, int64_t count) {
  switch (kind) {
    case GateKind::kSilu:
      return RunKernel<GateKernel<T, GateKind::kSilu>>(gate, up, count);
    case GateKind::kGelu:
      return RunKernel<GateKernel<T, GateKind::kGelu>>(gate, up, count);
    case GateKind::kGeluTanh:
      return RunKernel<GateKernel<T, GateKind::kGeluTanh>>(gate, up, count);
  }
}
template void GateRow<float>(GateKind, float*, const float*, int64_t);
template void GateRow<uint16_t>(GateKind, float*, const float*, int64_t);
template void GateRow<F16Bits>(GateKind, float*, const float*, int64_t);

void WidenRow(const uint16_t* from, int64_t count, float* to) { RunKernel<WidenKernel<uint16_t>>(from, count, to); }
void WidenRow(const F16Bits* from, int64_t count, float* to) { RunKernel<WidenKernel<F16Bits>>(from, count, to); }

template <typename T>
void FinishSums(float* sums, float bias, int64_t count) {
  RunKernel<FinishKernel<T>>(sums, bias, count);
}
template void FinishSums<float>(float*, float, int64_t);
template void FinishSums<uint16_t>(float*, float, int64_t);
template void FinishSums<F16Bits>(float*, float, int64_t);

}  // namespace calipress::model
