// The sweep's inner loops for AVX-512.
#include "compress/method/quantize/gptq/sweep_kernel.h"

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif

namespace calipress::method::gptq {
namespace {

constexpr int kLanes = 16;   // floats in a vector
constexpr int kVectors = 2;  // vectors of rows at a time: 8 columns of each fit the registers

#include "compress/method/quantize/gptq/sweep_kernel_body.h"

}  // namespace

const SweepKernel kSweepAvx512{"avx512", Feed, Sweep};

}  // namespace calipress::method::gptq
