// SpQR's inner loops for AVX-512.
#include "compress/method/quantize/spqr/tile_kernel.h"

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif

namespace calipress::method::spqr {
namespace {

constexpr int kLanes = 16;  // floats in a vector

#include "compress/method/quantize/spqr/tile_kernel_body.h"

}  // namespace

const TileKernel kTileAvx512{"avx512", Compensate, Fit, Sweep};

}  // namespace calipress::method::spqr
