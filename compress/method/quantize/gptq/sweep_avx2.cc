// The sweep's inner loops for AVX2.
#include "compress/method/quantize/gptq/sweep_kernel.h"

#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#endif

namespace calipress::method::gptq {
namespace {

constexpr int kLanes = 8;    // floats in a vector
constexpr int kVectors = 1;  // vectors of rows at a time: 8 columns of each fit the registers

#include "compress/method/quantize/gptq/sweep_kernel_body.h"

}  // namespace

const SweepKernel kSweepAvx2{"avx2", Feed, Sweep};

}  // namespace calipress::method::gptq
