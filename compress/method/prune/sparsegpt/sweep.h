#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "compress/checkpoint/compressed_tensors.h"
#include "compress/method/prune/prune.h"
#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method::sparsegpt {

struct SweepOptions {
  prune::Amount amount;
  // Unstructured: columns of a panel, whose weights compete; a multiple of 8. With a pattern it is speed alone.
  int64_t block_size = 128;
  std::optional<checkpoint::QuantizationScheme> scheme;  // of what is kept; none: it stays in the weight's dtype
};

// One weight of a sweep.
struct SweepTask {
  // [out, in] contiguous, bf16, f16 or fp32; zero in dead columns and where an earlier step pruned.
  at::Tensor weight;
  at::Tensor before = {};  // bool [out, in] contiguous: what an earlier step pruned; undefined: nothing
  Grid grid = {};          // where the options have a scheme
  at::Tensor values;       // out, without a scheme: the pruned weight, in its dtype
  at::Tensor codes;        // out, with a scheme: int8 [out, in]
  at::Tensor pruned;       // out: bool [out, in], `before` included
  double loss = 0.0;       // out: sum of e^2 = tr(dW H dW'), H the matrix that was factorized
  double shift = 0.0;      // out: sum of dW^2
};

// Prunes and makes up for it, columns as they stand. The factor is that of a plan without act-order. Which weights a
// panel loses is decided over all rows of a weight; besides, rows are independent and take errors one by one in order:
// the thread count changes no bit, nor do the other weights.
void SweepOnCpu(const SweepOptions& options, const gptq::Factor& factor, std::vector<SweepTask>& tasks);

// With a given kernel; the other takes the fastest that this machine can run.
void SweepOnCpu(const SweepOptions& options, const gptq::Factor& factor, const gptq::SweepKernel& kernel,
                std::vector<SweepTask>& tasks);

// The same by ATen operations, on any device.
void SweepOnDevice(const SweepOptions& options, const gptq::Factor& factor, std::vector<SweepTask>& tasks);

// Columns of a panel: whole runs of a pattern, whole blocks of the kernel.
int64_t PanelColumns(const SweepOptions& options);

}  // namespace calipress::method::sparsegpt
