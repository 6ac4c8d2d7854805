#pragma once

#include <cstdint>

#include "compress/model/decode_tile.h"
#include "compress/model/row_kernel.h"

namespace calipress::model {

// Row kernels of a decoding step: float rows are fp32, uint16_t rows bf16 bits. Sums have one order whatever the
// instruction set.

// Numbers that lie and are worked on together: values of a position, and positions of a key cache.
inline constexpr int64_t kCacheRun = 16;
inline constexpr int64_t kKeyBlock = 64;

// One query position of the `times` heads that share a key-value head, over the positions [begin, end) of a cache.
// query and out: [times][dim]; keys: [capacity / kKeyBlock][dim][kKeyBlock], capacity a multiple of kKeyBlock; values:
// [capacity][width], width = dim rounded up to kCacheRun. scratch: AttendScratch floats. next: keys that are read after
// these, fetched meanwhile.
template <typename T>
struct CachedAttention {
  const T* query;
  const T* keys;
  const T* values;
  const T* next;
  int64_t times, dim, width, capacity, begin, end;
  float scale;
  float* scratch;
  T* out;
};
inline int64_t AttendScratch(int64_t capacity, int64_t width) { return 2 * (capacity + width); }

void AttendCached(const CachedAttention<float>& work);
void AttendCached(const CachedAttention<uint16_t>& work);
void AttendCached(const CachedAttention<F16Bits>& work);

// gate [count] = act(gate) * up, all fp32 that hold numbers of T, each operation rounded to T. The activations are
// arch::Activation's.
enum class GateKind { kSilu, kGelu, kGeluTanh };
template <typename T>
void GateRow(GateKind kind, float* gate, const float* up, int64_t count);

// `rows` rows of `count` numbers, `stride` apart, as fp32 rows that are kTileInputs apart.
void WidenTile(const float* from, int64_t stride, int64_t rows, int64_t count, float* to);
void WidenTile(const uint16_t* from, int64_t stride, int64_t rows, int64_t count, float* to);
void WidenTile(const F16Bits* from, int64_t stride, int64_t rows, int64_t count, float* to);

// out [outputs][kDecodeRows] = sums + bias [outputs] (null: none), rounded to T.
template <typename T>
void FinishSums(const float* sums, const T* bias, int64_t outputs, float* out);

// from [features][kDecodeRows] -> to [kDecodeRows][features], rows `stride` apart; the numbers fit T.
void TurnRows(const float* from, int64_t features, int64_t stride, float* to);
void TurnRows(const float* from, int64_t features, int64_t stride, uint16_t* to);
void TurnRows(const float* from, int64_t features, int64_t stride, F16Bits* to);

}  // namespace calipress::model
