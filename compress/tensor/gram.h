#pragma once

#include <ATen/core/Tensor.h>

namespace calipress::tensor {

// Ways to add x' x to a sum. All accumulate in fp32; each is deterministic for a given thread count.
enum class GramPath {
  kAmxBf16,     // bf16; MKL's bf16 matrix product on strips of the triangle: for processors with AMX
  kAvx512Bf16,  // bf16; our own triangle kernel on vdpbf16ps (gram_avx512_bf16.h)
  kPanels,      // any dtype; panels of tokens as fp32, and fp32 products on strips of the triangle
  kDevice,      // not the CPU: the device's kernel, or ATen on panels
};

// The fastest way for this tensor on this machine.
GramPath GramPathFor(const at::Tensor& x);

// sum [n, n] fp32 += x' x in the lower triangle; the upper one holds anything afterwards. x [tokens, n] contiguous. The
// path must suit the dtype and the machine.
void AccumulateGram(const at::Tensor& x, GramPath path, at::Tensor& sum);

// Copies the lower triangle of a square fp32 matrix into the upper one.
void MirrorLower(at::Tensor& matrix);

}  // namespace calipress::tensor
