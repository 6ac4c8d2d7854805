// SpQR's inner loops for AVX2.
#include "compress/method/quantize/spqr/tile_kernel.h"

#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#endif

namespace calipress::method::spqr {
namespace {

constexpr int kLanes = 8;  // floats in a vector

#include "compress/method/quantize/spqr/tile_kernel_body.h"

}  // namespace

const TileKernel kTileAvx2{"avx2", Compensate, Fit, Sweep};

}  // namespace calipress::method::spqr
