// The sweep's inner loops for any processor.
#include "compress/method/quantize/gptq/sweep_kernel.h"

namespace calipress::method::gptq {
namespace {

constexpr int kLanes = 4;    // floats in a vector
constexpr int kVectors = 1;  // vectors of rows at a time: 8 columns of each fit the registers

#include "compress/method/quantize/gptq/sweep_kernel_body.h"

}  // namespace

const SweepKernel kSweepPortable{"portable", Feed, Sweep};

}  // namespace calipress::method::gptq
