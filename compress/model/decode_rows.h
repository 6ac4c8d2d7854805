#pragma once

#include <cstdint>

#include "compress/model/row_kernel.h"

namespace calipress::model {

// Row kernels of a decoding step: float rows are fp32, uint16_t rows bf16 bits. Sums have one order whatever the
// instruction set.

// Positions of a key cache row come in such runs.
inline constexpr int64_t kCacheRun = 16;

// One query position of the `times` heads that share a key-value head, over the positions [begin, end) of a cache.
// query and out: [times][dim]; keys: [dim][capacity], capacity a multiple of kCacheRun; values: [capacity][width],
// width = dim rounded up to kCacheRun. scratch: AttendScratch floats.
template <typename T>
struct CachedAttention {
  const T* query;
  const T* keys;
  const T* values;
  int64_t times, dim, width, capacity, begin, end;
  float scale;
  float* scratch;
  T* out;
};
inline int64_t AttendScratch(int64_t capacity, int64_t width) { return capacity + kCacheRun + width; }

void AttendCached(const CachedAttention<float>& work);
void AttendCached(const CachedAttention<uint16_t>& work);
void AttendCached(const CachedAttention<F16Bits>& work);

// gate [count] = act(gate) * up, all fp32 that hold numbers of T, each operation rounded to T. The activations are
// arch::Activation's.
enum class GateKind { kSilu, kGelu, kGeluTanh };
template <typename T>
void GateRow(GateKind kind, float* gate, const float* up, int64_t count);

// The narrow numbers of a strip as fp32.
void WidenRow(const uint16_t* from, int64_t count, float* to);
void WidenRow(const F16Bits* from, int64_t count, float* to);

// sums [count] + bias, rounded to T, in place.
template <typename T>
void FinishSums(float* sums, float bias, int64_t count);

}  // namespace calipress::model
