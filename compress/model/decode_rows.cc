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

CALIPRESS_INLINE void AddProduct(float factor, const Lanes& lanes, Lanes* sum) {
  float x[kCacheRun], to[kCacheRun];
  std::memcpy(x, &lanes, sizeof x);
  std::memcpy(to, sum, sizeof to);
  for (int i = 0; i < kCacheRun; ++i) to[i] = __builtin_fmaf(factor, x[i], to[i]);
  std::memcpy(sum, to, sizeof to);
}

// `runs` runs will be read soon: caches are larger than the processor's, and come no faster than they are asked for.
template <int runs, typename T>
CALIPRESS_INLINE void Prefetch(const T* from) {
  for (size_t at = 0; at < runs * kCacheRun; at += 64 / sizeof(T)) __builtin_prefetch(from + at);
}

// Scores of `runs` runs of positions of a key block, for `heads` heads: keys are read once for all of them. `ahead`: a
// block to be read after this one.
template <int heads, int runs, typename T>
CALIPRESS_INLINE void Scores(const CachedAttention<T>& work, const T* query, const T* keys, const T* ahead,
                             float* scores) {
  Lanes sum[heads][runs] = {};
  for (int64_t d = 0; d < work.dim; ++d) {
    Prefetch<runs>(ahead + d * kKeyBlock);
#pragma GCC unroll 4
    for (int i = 0; i < runs; ++i) {
      Lanes key;
      LoadLanes(keys + d * kKeyBlock + i * kCacheRun, &key);
#pragma GCC unroll 2
      for (int h = 0; h < heads; ++h) AddProduct(Widen(query[h * work.dim + d]) * work.scale, key, &sum[h][i]);
    }
  }
  for (int h = 0; h < heads; ++h) std::memcpy(scores + h * work.capacity, &sum[h], sizeof sum[h]);
}

// `runs` runs of the outputs' dimensions from `first` on, not yet divided.
template <int heads, int runs, typename T>
CALIPRESS_INLINE void Values(const CachedAttention<T>& work, const float* weights, int64_t first, float* out) {
  Lanes sum[heads][runs] = {};
  for (int64_t j = work.begin; j < work.end; ++j) {
    const int64_t ahead = j + kKeyBlock;
    Prefetch<runs>((ahead < work.end ? work.values + ahead * work.width : work.next + (ahead - work.end) * work.width) +
                   first);
#pragma GCC unroll 4
    for (int i = 0; i < runs; ++i) {
      Lanes value;
      LoadLanes(work.values + j * work.width + first + i * kCacheRun, &value);
#pragma GCC unroll 2
      for (int h = 0; h < heads; ++h) AddProduct(weights[h * work.capacity + j], value, &sum[h][i]);
    }
  }
  for (int h = 0; h < heads; ++h) std::memcpy(out + h * work.width + first, &sum[h], sizeof sum[h]);
}

// Scores of the positions [begin, end), multiples of kCacheRun, become weights; their sum.
CALIPRESS_INLINE float SoftMax(int64_t first, int64_t last, int64_t begin, int64_t end, float* scores) {
  float largest = scores[first];
  for (int64_t j = first; j < last; ++j) largest = scores[j] > largest ? scores[j] : largest;
  for (int64_t j = begin; j < end; ++j) scores[j] = ExpFloat(scores[j] - largest);
  for (int64_t j = begin; j < first; ++j) scores[j] = 0.0f;
  for (int64_t j = last; j < end; ++j) scores[j] = 0.0f;
  float parts[kCacheRun] = {};
  for (int64_t j = begin; j < end; j += kCacheRun) {
    for (int i = 0; i < kCacheRun; ++i) parts[i] += scores[j + i];
  }
  float total = 0.0f;
  for (int i = 0; i < kCacheRun; ++i) total += parts[i];
  return total;
}

template <int heads, typename T>
CALIPRESS_INLINE void AttendHeads(const CachedAttention<T>& work, const T* query, T* out) {
  const int64_t begin = work.begin / kCacheRun * kCacheRun;
  const int64_t end = (work.end + kCacheRun - 1) / kCacheRun * kCacheRun;
  float* scores = work.scratch;
  float* sums = work.scratch + heads * work.capacity;
  for (int64_t run = begin; run < end;) {
    const int64_t block = kKeyBlock * work.dim;
    const T* keys = work.keys + run / kKeyBlock * block + run % kKeyBlock;
    const T* ahead =
        run / kKeyBlock * kKeyBlock + kKeyBlock < end ? keys + block : work.values + work.begin * work.width;
    if (run % kKeyBlock == 0 && run + kKeyBlock <= end) {
      Scores<heads, 4>(work, query, keys, ahead, scores + run);
      run += kKeyBlock;
    } else {
      Scores<heads, 1>(work, query, keys, ahead, scores + run);
      run += kCacheRun;
    }
  }
  float total[heads];
  for (int h = 0; h < heads; ++h) total[h] = SoftMax(work.begin, work.end, begin, end, scores + h * work.capacity);
  int64_t first = 0;
  for (; first + 4 * kCacheRun <= work.width; first += 4 * kCacheRun) Values<heads, 4>(work, scores, first, sums);
  for (; first + 2 * kCacheRun <= work.width; first += 2 * kCacheRun) Values<heads, 2>(work, scores, first, sums);
  for (; first < work.width; first += kCacheRun) Values<heads, 1>(work, scores, first, sums);
  for (int h = 0; h < heads; ++h) {
    for (int64_t d = 0; d < work.dim; ++d) Narrow(sums[h * work.width + d] / total[h], out + h * work.dim + d);
  }
}

template <typename T>
struct AttendKernel {
  static CALIPRESS_INLINE void Run(const CachedAttention<T>* pointer) {
    const CachedAttention<T>& work = *pointer;
    static_assert(kKeyBlock == 4 * kCacheRun);
    int64_t head = 0;
    for (; head + 2 <= work.times; head += 2) {
      AttendHeads<2>(work, work.query + head * work.dim, work.out + head * work.dim);
    }
    if (head < work.times) AttendHeads<1>(work, work.query + head * work.dim, work.out + head * work.dim);
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
  static CALIPRESS_INLINE void Run(const T* __restrict from, int64_t stride, int64_t rows, int64_t count,
                                   float* __restrict to) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < count; ++i) to[r * kTileInputs + i] = Widen(from[r * stride + i]);
    }
  }
};

template <typename T>
struct FinishKernel {
  static CALIPRESS_INLINE void Run(const float* __restrict sums, const T* __restrict bias, int64_t outputs,
                                   float* __restrict out) {
    for (int64_t o = 0; o < outputs; ++o) {
      const float shift = bias == nullptr ? 0.0f : Widen(bias[o]);
      for (int64_t r = 0; r < kDecodeRows; ++r) {
        out[o * kDecodeRows + r] = RoundTo<T>(sums[o * kDecodeRows + r] + shift);
      }
    }
  }
};

template <typename T>
struct TurnKernel {
  static CALIPRESS_INLINE void Run(const float* __restrict from, int64_t features, int64_t stride, T* __restrict to) {
    constexpr int64_t kRun = 32;  // features whose narrow rows are in the first cache together
    T narrow[kRun * kDecodeRows] = {};
    for (int64_t begin = 0; begin < features; begin += kRun) {
      const int64_t count = features - begin < kRun ? features - begin : kRun;
      for (int64_t i = 0; i < count * kDecodeRows; ++i) Narrow(from[begin * kDecodeRows + i], narrow + i);
      for (int64_t r = 0; r < kDecodeRows; ++r) {
        for (int64_t i = 0; i < count; ++i) to[r * stride + begin + i] = narrow[i * kDecodeRows + r];
      }
    }
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

void WidenTile(const float* from, int64_t stride, int64_t rows, int64_t count, float* to) {
  RunKernel<WidenKernel<float>>(from, stride, rows, count, to);
}
void WidenTile(const uint16_t* from, int64_t stride, int64_t rows, int64_t count, float* to) {
  RunKernel<WidenKernel<uint16_t>>(from, stride, rows, count, to);
}
void WidenTile(const F16Bits* from, int64_t stride, int64_t rows, int64_t count, float* to) {
  RunKernel<WidenKernel<F16Bits>>(from, stride, rows, count, to);
}

template <typename T>
void FinishSums(const float* sums, const T* bias, int64_t outputs, float* out) {
  RunKernel<FinishKernel<T>>(sums, bias, outputs, out);
}
template void FinishSums<float>(const float*, const float*, int64_t, float*);
template void FinishSums<uint16_t>(const float*, const uint16_t*, int64_t, float*);
template void FinishSums<F16Bits>(const float*, const F16Bits*, int64_t, float*);

void TurnRows(const float* from, int64_t features, int64_t stride, float* to) {
  RunKernel<TurnKernel<float>>(from, features, stride, to);
}
void TurnRows(const float* from, int64_t features, int64_t stride, uint16_t* to) {
  RunKernel<TurnKernel<uint16_t>>(from, features, stride, to);
}
void TurnRows(const float* from, int64_t features, int64_t stride, F16Bits* to) {
  RunKernel<TurnKernel<F16Bits>>(from, features, stride, to);
}

}  // namespace calipress::model
