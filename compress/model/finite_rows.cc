#include "compress/model/finite_rows.h"

#include "compress/model/row_kernel.h"

namespace calipress::model {
namespace {

template <typename T>
struct FiniteKernel {
  static CALIPRESS_INLINE void Run(const T* bits, int64_t size, T exponent, bool* finite) {
    T bad = 0;
    for (int64_t i = 0; i < size; ++i) {
      bad = static_cast<T>(bad | ((bits[i] & exponent) == exponent ? T{1} : T{0}));
    }
    *finite = bad == 0;
  }
};

}  // namespace

bool FiniteRow32(const uint32_t* bits, int64_t size) {
  bool finite = true;
  RunKernel<FiniteKernel<uint32_t>>(bits, size, 0x7f800000u, &finite);
  return finite;
}

bool FiniteRow16(const uint16_t* bits, int64_t size, uint16_t exponent) {
  bool finite = true;
  RunKernel<FiniteKernel<uint16_t>>(bits, size, exponent, &finite);
  return finite;
}

}  // namespace calipress::model
