#include "compress/model/rotary_rows.h"

#include "compress/model/row_kernel.h"

namespace calipress::model {
namespace {

template <typename T>
struct RotateKernel {
  static CALIPRESS_INLINE void Run(T* rows, int64_t heads, int64_t head_dim, const float* cos, const float* sin) {
    const int64_t half = head_dim / 2;
    for (int64_t head = 0; head < heads; ++head) {
      T* __restrict first = rows + head * head_dim;
      T* __restrict second = first + half;
      for (int64_t i = 0; i < half; ++i) {
        const float a = Widen(first[i]);
        const float b = Widen(second[i]);
        const float x = RoundTo<T>(a * cos[i]) + RoundTo<T>(-b * sin[i]);
        const float y = RoundTo<T>(b * cos[half + i]) + RoundTo<T>(a * sin[half + i]);
        Narrow(x, &first[i]);
        Narrow(y, &second[i]);
      }
    }
  }
};

}  // namespace

void RotateRows(float* rows, int64_t heads, int64_t head_dim, const float* cos, const float* sin) {
  RunKernel<RotateKernel<float>>(rows, heads, head_dim, cos, sin);
}

void RotateRows(uint16_t* rows, int64_t heads, int64_t head_dim, const float* cos, const float* sin) {
  RunKernel<RotateKernel<uint16_t>>(rows, heads, head_dim, cos, sin);
}

}  // namespace calipress::model
