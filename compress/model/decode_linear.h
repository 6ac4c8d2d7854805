#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "compress/model/decode_tile.h"
#include "compress/tensor/aligned_buffer.h"

namespace calipress::model {

// Groups of kDecodeRows rows that one step takes: those of a pair share what reading a weight costs.
inline constexpr int64_t kMostDecodeGroups = 2;

// The hidden states of a step, rows side by side: [groups][features][kDecodeRows] in fp32, each a number of the model's
// dtype.
struct DecodePack {
  DecodePack(int64_t groups, int64_t features);
  float* group(int64_t index) { return data.get() + index * features * kDecodeRows; }
  const float* group(int64_t index) const { return data.get() + index * features * kDecodeRows; }

  int64_t groups;
  int64_t features;
  tensor::AlignedBuffer<float> data;
};

// Whether steps in this dtype on this device have kernels: bf16, f16 and fp32 on the CPU.
bool CanDecode(at::ScalarType dtype, at::Device device);

// rows: [groups * kDecodeRows, features], contiguous, of a dtype with kernels.
DecodePack PackRows(const at::Tensor& rows);
// The other way: [groups * kDecodeRows, features] of `dtype`; the numbers fit it.
at::Tensor UnpackRows(const DecodePack& pack, at::ScalarType dtype);

// input times weight' [out, in], contiguous, plus bias [out] (undefined: none), rounded to the weight's dtype. A row's
// bits depend on that row and the weights alone: each output is one sum over the inputs in their order, in fp32 and
// with fused multiply-adds, whatever the other rows, the threads and the processor.
DecodePack MultiplyRows(const DecodePack& input, const at::Tensor& weight, const at::Tensor& bias,
                        const DecodeTile& tile = *AvailableDecodeTiles().tiles[0]);

}  // namespace calipress::model
