#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "compress/checkpoint/compressed_tensors.h"
#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method::gptq {

struct SweepKernel;

// One weight of a sweep.
struct SweepTask {
  at::Tensor weight;  // [out, in] contiguous, bf16, f16 or fp32; dead columns are zero
  Grid grid;
  // bool [out, in] contiguous, true where the weight (zero in `weight`) has to dequantize to zero, whatever feedback it
  // took; undefined: nowhere.
  at::Tensor pruned = {};
  at::Tensor codes;    // out: [out, in], int8 or float8_e4m3fn
  double loss = 0.0;   // out: sum of e^2 = tr(dW H dW'), H the matrix that was factorized
  double shift = 0.0;  // out: sum of dW^2, which times the damping is the damping's part of the loss
};

// Quantizes the columns of all weights in the plan's order, each after it has taken its share of the errors made
// before. Every row is on its own, and takes errors one by one in order: neither `block_size` (columns per panel,
// at least 1; rounded up to a multiple of 8) nor the thread count changes a bit of the result.
void SweepOnCpu(const checkpoint::QuantizationScheme& scheme, const ColumnPlan& plan, const Factor& factor,
                int64_t block_size, std::vector<SweepTask>& tasks);

// With a given kernel; the other takes the fastest that this machine can run.
void SweepOnCpu(const checkpoint::QuantizationScheme& scheme, const ColumnPlan& plan, const Factor& factor,
                int64_t block_size, const SweepKernel& kernel, std::vector<SweepTask>& tasks);

// The same by ATen operations and the device's panel kernel, where it has one; on any device. Sums are grouped by
// panel, so that results differ by float noise between block sizes.
void SweepOnDevice(const checkpoint::QuantizationScheme& scheme, const ColumnPlan& plan, const Factor& factor,
                   int64_t block_size, std::vector<SweepTask>& tasks);

}  // namespace calipress::method::gptq
