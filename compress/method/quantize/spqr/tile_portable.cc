// SpQR's inner loops for any processor.
#include "compress/method/quantize/spqr/tile_kernel.h"

namespace calipress::method::spqr {
namespace {

constexpr int kLanes = 4;  // floats in a vector

#include "compress/method/quantize/spqr/tile_kernel_body.h"

}  // namespace

const TileKernel kTilePortable{"portable", Compensate, Fit, Sweep};

}  // namespace calipress::method::spqr
